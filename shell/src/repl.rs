//! The interactive shell: read a statement, run it, show what came, again.
//!
//! The line editor blocks its thread; statements run on the runtime, one at a time.

mod editor;
mod options;

use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor, ExternalPrinter};

use self::editor::{Names, SqlHelper, interrupted, is_complete, plain_word};
use crate::failure::Failure;
use crate::logs;
use crate::script;
use crate::shell::{Flow, Shell};

const PROMPT: &str = "weir> ";

/// Reads statements from the terminal until `\q` or Ctrl-D. Needs a runtime of several threads.
pub async fn run(shell: &mut Shell) -> Result<(), Failure> {
    let result = read(shell).await;
    logs::print_directly();
    result
}

async fn read(shell: &mut Shell) -> Result<(), Failure> {
    let style = shell.screen.style;
    let names = Names::default();
    let mut editor = open_editor(SqlHelper::new(names.clone(), style))?;
    let history = history_file();
    if let Some(path) = &history {
        // There is none the first time.
        let _ = editor.load_history(path);
    }
    refresh(shell, &names);
    let prompt = (PROMPT, style.bold(PROMPT));
    let mut begun = String::new();
    loop {
        let typed = (begun.as_str(), "");
        match tokio::task::block_in_place(|| editor.readline_with_initial(&prompt, typed)) {
            Ok(text) if interrupted(&text).is_some() => {
                let (statement, command) = interrupted(&text).unwrap_or_default();
                let flow = carry_out(shell, command).await?;
                begun = format!("{statement}\n");
                if flow == Flow::Quit {
                    return Ok(());
                }
            }
            Ok(text) => {
                begun.clear();
                remember(&mut editor, &text, history.as_deref());
                if carry_out(shell, &text).await? == Flow::Quit {
                    return Ok(());
                }
                refresh(shell, &names);
            }
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => begun.clear(),
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(Failure::Message(format!("the terminal can't be read: {error}"))),
        }
    }
}

/// Runs what was typed. Errors are told; only standard output's end the shell.
async fn carry_out(shell: &mut Shell, text: &str) -> Result<Flow, Failure> {
    let text = plain_word(text).unwrap_or(text);
    shell.forget_interrupt();
    match script::run(shell, text.as_bytes(), None).await {
        Ok(flow) => Ok(flow),
        Err(Failure::Message(message)) => {
            shell.screen.error("error:", &message);
            Ok(Flow::Continue)
        }
        Err(Failure::Cancelled) => {
            // Over the ^C that the terminal has shown.
            let style = shell.screen.error_style;
            shell.screen.error_line(&format!("\r{}", style.dim("cancelled")));
            Ok(Flow::Continue)
        }
        Err(failure) => Err(failure),
    }
}

fn open_editor(helper: SqlHelper) -> Result<Editor<SqlHelper, FileHistory>, Failure> {
    let failed = |error: ReadlineError| Failure::Message(format!("the terminal can't be used: {error}"));
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(5000)
        .and_then(|config| config.history_ignore_dups(true))
        .map_err(failed)?
        .build();
    let mut editor = Editor::with_config(config).map_err(failed)?;
    editor.set_helper(Some(helper));
    if let Ok(mut printer) = editor.create_external_printer() {
        logs::print_by(move |message| printer.print(message).map_err(std::io::Error::other));
    }
    Ok(editor)
}

fn remember(editor: &mut Editor<SqlHelper, FileHistory>, text: &str, file: Option<&std::path::Path>) {
    let text = text.trim();
    if text.is_empty() || !is_complete(text) {
        return;
    }
    // A history that can't be kept is no reason to keep someone from working.
    let added = editor.add_history_entry(text).unwrap_or(false);
    if let (true, Some(path)) = (added, file) {
        let _ = editor.append_history(path);
    }
}

/// `WEIR_HISTORY`, or `.weir_history` in the home directory.
fn history_file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("WEIR_HISTORY") {
        return (!path.is_empty()).then(|| PathBuf::from(path));
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
    Some(PathBuf::from(home).join(".weir_history"))
}

/// Asks for the names that completion offers, while the next statement is being typed.
fn refresh(shell: &Shell, names: &Names) {
    let (client, names) = (shell.client().clone(), names.clone());
    names.ask();
    tokio::spawn(async move { names.set(client.names().await) });
}
