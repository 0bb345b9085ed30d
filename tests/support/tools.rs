//! Programs that tests run and did not write: built by a script of `e2e/`, and fed with text.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use tokio::{io::AsyncWriteExt, process::Command};

/// The program of this name that the script `build` makes, built if need be.
pub(crate) async fn built(build: &str, program: &str) -> PathBuf {
    let building = Command::new(build)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = building.await.unwrap();
    assert!(output.status.success(), "{build} failed: see what it printed");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end()).join(program)
}

/// Runs `command` with `input`, of which it need not read what it does not want, and answers what it printed.
pub(crate) async fn fed(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    // It may answer while it reads.
    let telling = tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
    let output = child.wait_with_output().await.unwrap();
    drop(telling.await.unwrap());
    output
}

/// Runs a line of a page as a person would who has these programs, in this directory; answers what it printed.
pub(crate) async fn typed(
    line: &str,
    directory: &Path,
    programs: &[&Path],
    environment: &[(&str, impl AsRef<OsStr>)],
) -> String {
    let installed = std::env::var_os("PATH").unwrap();
    let installed: Vec<PathBuf> = std::env::split_paths(&installed).collect();
    let path = std::env::join_paths(programs.iter().copied().chain(installed.iter().map(PathBuf::as_path))).unwrap();
    let mut shell = Command::new("bash");
    for (name, value) in environment {
        shell.env(name, value);
    }
    shell
        .args(["-euo", "pipefail", "-c", line])
        .current_dir(directory)
        .env("PATH", path);
    let output = fed(&mut shell, "").await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
