//! `scripts/release.sh prepare` in a copy of the files it reads. A program of ours takes the place of make, and notes that the
//! script came to the tests.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files that the script reads.
const FILES: &[&str] = &[
    "Cargo.toml",
    "cli/Cargo.toml",
    "capi/Cargo.toml",
    "capi/include/fabric_gossip.h",
    "bindings/python/pyproject.toml",
    "bindings/python/fabric_gossip/_c.py",
    "scripts/release.sh",
    "scripts/version.sh",
];
const PACKAGES: &[&str] = &["Cargo.toml", "cli/Cargo.toml", "capi/Cargo.toml"];
const PYTHON: &str = "bindings/python/pyproject.toml";

/// A copy of the project that meets every condition of a release.
struct Project(PathBuf);

impl Project {
    fn new(name: &str) -> Self {
        let project = Project(std::env::temp_dir().join(format!("xtask-release-{}-{name}", std::process::id())));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for file in FILES {
            let to = project.path(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(root.join(file), to).unwrap();
        }
        // Also once the project itself names its repository.
        for file in PACKAGES.iter().chain([&PYTHON]) {
            let is_ours =
                |line: &&str| !["repository", "Repository", "[project.urls]"].iter().any(|s| line.starts_with(s));
            let text = project.read(file);
            let kept: Vec<&str> = text.lines().filter(is_ours).collect();
            project.write(file, &(kept.join("\n") + "\n"));
        }
        for file in PACKAGES {
            project.replace(file, "[package]\n", "[package]\nrepository.workspace = true\n");
        }
        project.replace(
            "Cargo.toml",
            "[workspace.package]\n",
            "[workspace.package]\nrepository = \"https://example.org/f\"\n",
        );
        project.write(PYTHON, &(project.read(PYTHON) + "[project.urls]\nRepository = \"https://example.org/f\"\n"));
        let version = sh("sed -n 's/^version = \"\\(.*\\)\"/\\1/p' Cargo.toml | head -1", &project.0);
        let today = sh("date -u +%F", &project.0);
        project.write("CHANGELOG.md", &format!("# Changelog\n\n## Unreleased\n\n## {version} - {today}\n"));
        project.write("bin/make", "#!/bin/sh\necho \"$*\" >>\"$MADE\"\nexit 9\n");
        sh("chmod +x bin/make && printf 'bin\\nmade\\n' >.gitignore", &project.0);
        project
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn replace(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{file} has no {from}");
        self.write(file, &text.replacen(from, to, 1));
    }

    /// Commits everything and runs `prepare`. Returns what it prints, and what it made.
    fn prepare(&self) -> (String, Option<String>) {
        sh(
            "git init --quiet . && git add . && git -c commit.gpgsign=false -c user.name=t -c user.email=t@example.org commit --quiet -m t",
            &self.0,
        );
        let mut path = OsString::from(self.path("bin"));
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let output = Command::new("bash")
            .args(["scripts/release.sh", "prepare"])
            .current_dir(&self.0)
            .envs([("PATH", path), ("CARGO", "true".into()), ("MADE", self.path("made").into())])
            .output()
            .unwrap();
        assert!(!output.status.success(), "our make fails");
        (String::from_utf8_lossy(&output.stderr).into_owned(), fs::read_to_string(self.path("made")).ok())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the output of a command that has to succeed.
fn sh(command: &str, folder: &Path) -> String {
    let output = Command::new("sh").args(["-ec", command]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_release_that_meets_the_conditions_is_tested() {
    let (errors, made) = Project::new("ready").prepare();
    assert_eq!(made.as_deref(), Some("test\n"), "{errors}");
}

#[test]
fn a_release_without_an_address_of_the_repository_stops_before_the_tests() {
    let project = Project::new("none");
    project.replace("Cargo.toml", "repository = \"https://example.org/f\"\n", "");
    let (errors, made) = project.prepare();
    assert!(errors.contains("release: Cargo.toml does not name the repository: set 'repository'"), "{errors}");
    assert_eq!(made, None, "{errors}");
}

#[test]
fn each_package_that_does_not_name_the_repository_is_listed() {
    for file in PACKAGES.iter().chain([&PYTHON]) {
        let project = Project::new(&file.replace('/', "-"));
        let line =
            if *file == PYTHON { "Repository = \"https://example.org/f\"\n" } else { "repository.workspace = true\n" };
        project.replace(file, line, "");
        let (errors, made) = project.prepare();
        assert_eq!(errors, format!("release: {file} does not have the line: {line}"));
        assert_eq!(made, None, "{errors}");
    }
}
