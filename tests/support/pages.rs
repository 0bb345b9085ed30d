//! The shell blocks of the pages for people. Before each one an HTML comment says which test runs it,
//! `<!-- run by: chart/life -->`, or why none does, `<!-- not run: needs a registry -->`; a block of which a part is run has
//! both.

/// A block of `sh` or `console`.
#[derive(Debug)]
pub(crate) struct Block {
    /// Tests that run it, as `BINARY/FILE`.
    pub(crate) run_by: Vec<String>,
    /// Why no test runs all of it.
    pub(crate) not_run: Option<String>,
    /// Its commands, without the comments behind them.
    pub(crate) commands: Vec<String>,
}

/// All shell blocks of a page, in their order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let lines: Vec<&str> = page.lines().map(str::trim).collect();
    let begins = (0..lines.len()).filter(|at| ["```sh", "```console"].contains(&lines[*at]));
    begins.map(|at| block(&lines[..at], &lines[at + 1..])).collect()
}

/// All commands of a page's shell blocks, in their order.
pub(crate) fn commands(page: &str) -> Vec<String> {
    blocks(page).into_iter().flat_map(|block| block.commands).collect()
}

fn block(before: &[&str], from: &[&str]) -> Block {
    let comments = before
        .iter()
        .rev()
        .map_while(|line| line.strip_prefix("<!-- ")?.strip_suffix(" -->"));
    let comments: Vec<&str> = comments.collect();
    let said = |what: &'static str| comments.iter().filter_map(move |comment| comment.strip_prefix(what));
    let lines = from.iter().take_while(|line| **line != "```");
    Block {
        run_by: said("run by: ")
            .flat_map(|tests| tests.split(", "))
            .map(str::to_owned)
            .collect(),
        not_run: said("not run: ").next().map(str::to_owned),
        commands: lines
            .map(|line| without_comment(line))
            .filter(|line| !line.is_empty())
            .collect(),
    }
}

fn without_comment(line: &str) -> String {
    line.split(" # ").next().unwrap_or_default().trim_end().to_owned()
}
