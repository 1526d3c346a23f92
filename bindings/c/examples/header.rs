//! Writes `include/attn.h`; a test holds the committed file to what this makes.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    match cbindgen::generate(folder) {
        Ok(header) => {
            header.write_to_file(folder.join("include/attn.h"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
