//! The way from the README to the first own workflow: its commands, but for those that put a demo in the place of this
//! test's system.

use std::{env, path::PathBuf};

use tokio::process::Command;

use crate::support::{
    controlplane,
    system::{System, condition},
};

const README: &str = include_str!("../../README.md");
/// What this test has already: the sources, and something that runs.
const BEFORE: [&str; 3] = ["git clone ", "KEEP=1 make demo ", "source .demo/use "];

#[tokio::test]
async fn first_workflow_of_the_readme_is_five_commands_away() {
    let system = System::new("readme").await;
    let _all = system.start("all", &[]).await;
    let plane = controlplane::shared().await;
    let (_, section) = README.split_once("\n## Your first workflow\n").unwrap();
    let (_, section) = section.split_once("```sh\n").unwrap();
    let (commands, rest) = section.split_once("```\n").unwrap();
    let mut lines = commands.lines();
    for begin in BEFORE {
        let line = lines.next().unwrap();
        assert!(line.starts_with(begin), "{line}");
    }
    let commands: Vec<&str> = lines.collect();
    let starts = commands.iter().filter(|line| line.starts_with("kubectl ")).count();
    assert_eq!(BEFORE.len() + starts, 5, "{commands:#?}");
    let script = format!(
        "set -e\nkubectl() {{ command kubectl --namespace {} \"$@\"; }}\n{}",
        system.namespace,
        commands.join("\n")
    );

    let path = env::var_os("PATH").unwrap();
    let path = [plane.programs().to_owned()]
        .into_iter()
        .chain(env::split_paths(&path))
        .collect::<Vec<PathBuf>>();
    let output = Command::new("bash")
        .args(["-c", &script])
        .env("KUBECONFIG", plane.kubeconfig())
        .env("PATH", env::join_paths(path).unwrap())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer = said.lines().last().unwrap();
    assert!(rest.starts_with(&format!("It answers `{answer}`.")), "{said}");
    assert_eq!(condition(&system.workflow("mine").await, "Succeeded")["status"], "True");
}
