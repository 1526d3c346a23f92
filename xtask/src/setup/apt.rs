//! Programs from Debian's packages, without ever removing one that is installed.
//!
//! Where apt would have to remove a package (a newer `qemu-utils` from backports, for example), the same packages are unpacked into
//! the build folder and used from there. The system then stays as it is.

use super::{Done, SetupError, output, say_and_run};
use attn_lab::tools;
use std::path::Path;
use std::process::Command;

const INSTALL: [&str; 4] = ["-qq", "--yes", "--no-install-recommends", "--no-remove"];

/// Installs `package`. If that would remove another package, unpacks it for `program` instead.
pub fn install(program: &str, package: &str) -> Done {
    let failed = |what: &str| SetupError(format!("{what}: is there a network?"));
    if !apt(&["-qq", "update"]) {
        return Err(failed("apt-get update failed"));
    }
    let simulate = ["--simulate", "--no-install-recommends", "install", package];
    let plan = output("apt-get", &simulate).map(|text| Plan::new(&text));
    let plan = plan.ok_or_else(|| failed(&format!("apt-get does not know {package}")))?;
    if plan.removed.is_empty() {
        let installed = apt(&[&INSTALL[..], &["install", package]].concat());
        return installed
            .then_some(())
            .ok_or_else(|| failed(&format!("apt-get cannot install {package}")));
    }
    println!(
        "setup: installing {package} would remove {}; unpacking it into {} instead",
        plan.removed.join(", "),
        tools::folder(package).display()
    );
    unpack(program, package, &plan.installed)
}

fn apt(arguments: &[&str]) -> bool {
    say_and_run(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments),
    )
}

/// The changes that apt would make.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Packages that it would install.
    installed: Vec<String>,
    /// Packages that it would remove.
    removed: Vec<String>,
}

impl Plan {
    /// Reads the lines `Inst NAME …` and `Remv NAME …` of `apt-get --simulate`.
    fn new(simulated: &str) -> Self {
        let named = |what: &str| {
            let lines = simulated.lines();
            let names = lines.filter_map(|line| line.strip_prefix(what)?.split_whitespace().next());
            names.map(str::to_owned).collect()
        };
        Self {
            installed: named("Inst "),
            removed: named("Remv "),
        }
    }
}

/// Downloads packages and unpacks them into one folder, with a starter for the program that finds its libraries there.
fn unpack(program: &str, package: &str, packages: &[String]) -> Done {
    let io = |error: std::io::Error| SetupError(error.to_string());
    let folder = tools::folder(package);
    std::fs::create_dir_all(&folder).map_err(io)?;
    let work = tempfile::tempdir().map_err(io)?;
    let mut download = Command::new("apt-get");
    // apt's own user cannot write here; the download is then root's, which apt would print a warning about.
    download
        .current_dir(work.path())
        .args(["-qq", "-o", "APT::Sandbox::User=root", "download"])
        .args(packages);
    if !say_and_run(&mut download) {
        return Err(SetupError("apt-get download failed".into()));
    }
    for file in std::fs::read_dir(work.path()).map_err(io)?.flatten() {
        let unpacked = Command::new("dpkg-deb")
            .arg("-x")
            .arg(file.path())
            .arg(&folder)
            .status();
        if !unpacked.is_ok_and(|status| status.success()) {
            let name = file.file_name().to_string_lossy().into_owned();
            return Err(SetupError(format!("dpkg-deb cannot unpack {name}")));
        }
    }
    write_starter(program, &folder)
}

/// A script that starts the unpacked program with the libraries, modules and data beside it.
fn write_starter(program: &str, folder: &Path) -> Done {
    let io = |error: std::io::Error| SetupError(error.to_string());
    let libraries = format!("{}-linux-gnu", std::env::consts::ARCH);
    let script = format!(
        "#!/bin/sh\nhere={}\nlibraries=$here/usr/lib/{libraries}\n\
         export LD_LIBRARY_PATH=\"$libraries:$here/lib/{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\" QEMU_MODULE_DIR=\"$libraries/qemu\"\n\
         exec \"$here/usr/bin/{program}\" -L \"$here/usr/share/qemu\" \"$@\"\n",
        folder.display()
    );
    let starter = tools::starter(program);
    std::fs::create_dir_all(starter.parent().unwrap_or(folder)).map_err(io)?;
    std::fs::write(&starter, script).map_err(io)?;
    let executable = Command::new("chmod").arg("755").arg(&starter).status();
    executable
        .is_ok_and(|status| status.success())
        .then_some(())
        .ok_or_else(|| SetupError(format!("{} cannot be made executable", starter.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_would_be_removed_is_seen() {
        let simulated = "\
            NOTE: This is only a simulation!\n\
            Remv qemu-utils [1:10.0.2+ds-2+deb13u1~bpo12+1]\n\
            Inst libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n\
            Inst qemu-system-arm (1:7.2+dfsg-7+deb12u18+b3 Debian:12.15/oldstable [amd64])\n\
            Conf libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n";
        let plan = Plan {
            installed: vec!["libfdt1".into(), "qemu-system-arm".into()],
            removed: vec!["qemu-utils".into()],
        };
        assert_eq!(Plan::new(simulated), plan);
    }

    #[test]
    fn apt_is_never_allowed_to_remove() {
        assert!(INSTALL.contains(&"--no-remove"));
    }
}
