//! Programs of the system: installed by Homebrew or, as root, by apt. Elsewhere the error names the command that installs them.

use super::{Done, SetupError, apt, output, say_and_run};
use attn_lab::tools;
use std::process::Command;

/// A program, and the package that each installer has it in.
pub struct Tool {
    program: &'static str,
    /// Debian, Ubuntu.
    apt: &'static str,
    /// macOS.
    brew: &'static str,
    /// What to run elsewhere: the first installer that is there.
    others: &'static [(&'static str, &'static str)],
}

/// The emulator.
pub const QEMU: Tool = Tool {
    program: "qemu-system-arm",
    apt: "qemu-system-arm",
    brew: "qemu",
    others: &[
        ("dnf", "sudo dnf install qemu-system-arm"),
        ("pacman", "sudo pacman -S qemu-system-arm"),
        ("zypper", "sudo zypper install qemu-arm"),
        ("apk", "sudo apk add qemu-system-arm"),
        ("nix-shell", "nix-shell -p qemu"),
        (
            "winget",
            "winget install SoftwareFreedomConservancy.QEMU` and add `C:\\Program Files\\qemu` to `Path",
        ),
    ],
};
/// The C compiler: links Rust programs, and builds the instruction counter.
pub const CC: Tool = Tool {
    program: "cc",
    apt: "gcc",
    brew: "gcc",
    others: &[
        ("dnf", "sudo dnf install gcc"),
        ("pacman", "sudo pacman -S gcc"),
        ("zypper", "sudo zypper install gcc"),
        ("apk", "sudo apk add build-base"),
        ("nix-shell", "nix-shell -p gcc"),
    ],
};
/// The C++ compiler, for the tests of the bindings.
pub const CXX: Tool = Tool {
    program: "g++",
    apt: "g++",
    brew: "gcc",
    others: &[
        ("dnf", "sudo dnf install gcc-c++"),
        ("pacman", "sudo pacman -S gcc"),
        ("zypper", "sudo zypper install gcc-c++"),
        ("apk", "sudo apk add build-base"),
        ("nix-shell", "nix-shell -p gcc"),
    ],
};
/// The C compiler for chips.
pub const ARM_GCC: Tool = Tool {
    program: "arm-none-eabi-gcc",
    apt: "gcc-arm-none-eabi",
    brew: "arm-none-eabi-gcc",
    others: &[
        ("dnf", "sudo dnf install arm-none-eabi-gcc-cs"),
        ("pacman", "sudo pacman -S arm-none-eabi-gcc"),
        ("zypper", "sudo zypper install cross-arm-none-eabi-gcc12"),
        ("apk", "sudo apk add gcc-arm-none-eabi"),
        ("nix-shell", "nix-shell -p gcc-arm-embedded"),
    ],
};
/// Builds projects in C.
pub const CMAKE: Tool = Tool {
    program: "cmake",
    apt: "cmake",
    brew: "cmake",
    others: &[
        ("dnf", "sudo dnf install cmake"),
        ("pacman", "sudo pacman -S cmake"),
        ("zypper", "sudo zypper install cmake"),
        ("apk", "sudo apk add cmake make"),
        ("nix-shell", "nix-shell -p cmake gnumake"),
        ("winget", "winget install Kitware.CMake"),
    ],
};
/// What CMake builds with.
pub const MAKE: Tool = Tool {
    program: "make",
    apt: "make",
    brew: "make",
    others: &[
        ("dnf", "sudo dnf install make"),
        ("pacman", "sudo pacman -S make"),
        ("zypper", "sudo zypper install make"),
        ("apk", "sudo apk add make"),
        ("nix-shell", "nix-shell -p gnumake"),
    ],
};

/// The browser that pages are looked at in.
pub const BROWSER: Tool = Tool {
    program: "chromium",
    apt: "chromium",
    brew: "chromium",
    others: &[
        ("dnf", "sudo dnf install chromium"),
        ("pacman", "sudo pacman -S chromium"),
        ("zypper", "sudo zypper install chromium"),
        ("apk", "sudo apk add chromium"),
        ("nix-shell", "nix-shell -p chromium"),
    ],
};

/// Installs a program that is missing.
pub fn tool(tool: &Tool) -> Done {
    if tools::command(tool.program).is_some() {
        return Ok(());
    }
    if cfg!(target_os = "macos") {
        let installed = say_and_run(Command::new("brew").args(["install", tool.brew]));
        return if installed {
            Ok(())
        } else {
            Err(by_hand(tool))
        };
    }
    let is_root = output("id", &["-u"]).as_deref() == Some("0");
    if !is_root || output("apt-get", &["--version"]).is_none() {
        return Err(by_hand(tool));
    }
    apt::install(tool.program, tool.apt)?;
    if tools::command(tool.program).is_some() {
        return Ok(());
    }
    let Tool { program, apt, .. } = tool;
    Err(SetupError(format!(
        "{program} is missing and apt-get cannot install {apt}; is there a network?"
    )))
}

/// What the user has to run.
fn by_hand(tool: &Tool) -> SetupError {
    let has = |installer: &str| output(installer, &["--version"]).is_some();
    let advice = advice(tool, cfg!(target_os = "macos"), has);
    SetupError(format!(
        "{} is missing: {advice}, then start this again",
        tool.program
    ))
}

fn advice(tool: &Tool, macos: bool, has: impl Fn(&str) -> bool) -> String {
    if macos {
        return format!("run `brew install {}` (https://brew.sh)", tool.brew);
    }
    if has("apt-get") {
        return format!("run `sudo apt-get install --no-remove {}`", tool.apt);
    }
    match tool.others.iter().find(|(installer, _)| has(installer)) {
        Some((_, command)) => format!("run `{command}`"),
        None => "install it with the package manager of your system".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_has_its_command() {
        let on = |system: &str| advice(&QEMU, system == "macos", |installer| installer == system);
        assert_eq!(on("macos"), "run `brew install qemu` (https://brew.sh)");
        assert_eq!(
            on("apt-get"),
            "run `sudo apt-get install --no-remove qemu-system-arm`"
        );
        assert_eq!(on("dnf"), "run `sudo dnf install qemu-system-arm`");
        assert!(on("winget").contains("SoftwareFreedomConservancy.QEMU"));
        assert!(on("").contains("package manager"));
    }
}
