//! `cargo xtask model`: converts the shipped models anew. A test holds the committed files to what the converter makes of them.

use crate::TaskResult;
use attn_lab::model::{Shipped, convert};

/// Converts every shipped model and replaces the committed files that differ.
pub fn run() -> TaskResult {
    for model in Shipped::ALL {
        println!("converting models/{}", model.name());
        let converted = convert(model)?;
        for line in converted.report.lines() {
            println!("  {line}");
        }
        let path = model.path();
        if std::fs::read(&path).is_ok_and(|file| file == converted.file) {
            println!("  the committed file is the same");
        } else {
            std::fs::write(&path, &converted.file)?;
            println!("  wrote {}", path.display());
        }
    }
    Ok(())
}
