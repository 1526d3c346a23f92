//! What comes with the repository: licences and advisories of every crate (`cargo xtask deny`), and bills of materials
//! (`cargo xtask sbom`).

use crate::TaskResult;
use crate::setup::crates::{CYCLONEDX, DENY, installed};
use attn_lab::workspace;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Fails if a crate has terms or a source that `deny.toml` does not allow, or if the database of advisories knows of one. The database
/// is fetched; where it cannot be, that is said, and the rest counts.
pub fn deny() -> TaskResult {
    let program = installed(&DENY)?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command
            .current_dir(workspace::root())
            .args(["--workspace"])
            .args(arguments)
            .stdin(Stdio::null());
        command
    };
    let checked = deny(&["check", "licenses", "bans", "sources"]).status()?;
    if !checked.success() {
        return Err("a crate does not keep to deny.toml".into());
    }
    let fetched = deny(&["fetch", "db"]).stderr(Stdio::null()).status()?;
    if !fetched.success() {
        println!("advisories: not checked, their database cannot be fetched");
        return Ok(());
    }
    match deny(&["check", "--disable-fetch", "advisories"])
        .status()?
        .success()
    {
        true => Ok(()),
        false => Err("there are advisories about a crate".into()),
    }
}

/// What cargo-cyclonedx calls its files, one in the folder of each package.
const BILL: &str = "attn-bill";

/// Writes a bill of materials (CycloneDX 1.5, JSON) for every package of the workspace into `folder`; in the build folder otherwise.
/// `target`: for one platform; for all of them otherwise.
pub fn sbom(folder: Option<PathBuf>, target: Option<&str>) -> TaskResult {
    let program = installed(&CYCLONEDX)?;
    let folder = match folder {
        Some(folder) => folder,
        None => workspace::build_folder()?.join("sbom"),
    };
    std::fs::create_dir_all(&folder)?;
    let root = workspace::root();
    let status = Command::new(program)
        .current_dir(root)
        .args(["cyclonedx", "--quiet", "--format", "json"])
        .args(["--spec-version", "1.5", "--override-filename", BILL])
        .args(["--target", target.unwrap_or("all")])
        .stdin(Stdio::null())
        .status()?;
    let moved = take(root, &folder)?;
    if !status.success() || moved == 0 {
        return Err("cargo-cyclonedx failed".into());
    }
    println!("{moved} bills of materials in {}", folder.display());
    Ok(())
}

/// Moves every bill beneath `from` into `to`, under the name of its package; how many there were.
fn take(from: &Path, to: &Path) -> std::io::Result<usize> {
    let mut moved = 0;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_symlink() || name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            moved += take(&path, to)?;
        } else if name == format!("{BILL}.json") {
            let manifest = std::fs::read_to_string(path.with_file_name("Cargo.toml"))?;
            let package = package_of(&manifest).unwrap_or("package");
            std::fs::copy(&path, to.join(format!("{package}.cdx.json")))?;
            std::fs::remove_file(path)?;
            moved += 1;
        }
    }
    Ok(moved)
}

/// The name of a manifest's package, which stands first.
fn package_of(manifest: &str) -> Option<&str> {
    let mut lines = manifest.lines();
    let value = lines.find_map(|line| line.strip_prefix("name = "))?;
    Some(value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bills_are_moved_under_the_names_of_their_packages() {
        let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let write = |name: &str, text: &str| std::fs::write(from.path().join(name), text).unwrap();
        for folder in ["deep/er", "target", ".git"] {
            std::fs::create_dir_all(from.path().join(folder)).unwrap();
            write(&format!("{folder}/attn-bill.json"), "{}");
            write(
                &format!("{folder}/Cargo.toml"),
                "[package]\nname = \"some-package\"\n",
            );
        }
        write("deep/other.json", "{}");
        assert_eq!(take(from.path(), to.path()).unwrap(), 1);
        assert!(to.path().join("some-package.cdx.json").exists());
        assert!(!from.path().join("deep/er/attn-bill.json").exists());
        assert!(from.path().join("deep/other.json").exists());
    }
}
