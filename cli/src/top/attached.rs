//! `receiver top`: the dashboard of a run in another process, by its control socket.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use super::app::{self, App};
use super::draw::Theme;
use super::feed::{self, Run, Unanswered};
use crate::control::{Client, ClientError, Request, Selection};
use crate::errors::UsageError;
use crate::outlet::Outlet;
use crate::values::duration_within;
use crate::view::{has_cursor, has_terminal};

/// Show a run on the whole terminal: who is silent, who dropped what, queues, events; keys sort, filter and block
///
/// The run has a control socket if it was started with --name or --control. The dashboard waits for a run that ends,
/// and goes on when it is started again. The key ? explains all keys, and q ends the dashboard but not the run.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct TopArgs {
    #[command(flatten)]
    selection: Selection,
    /// Time between two updates, 100ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    duration_within(text, Duration::from_millis(100), Duration::from_secs(3600))
}

/// Shows the run until a key or a signal ends the dashboard.
///
/// # Errors
/// There is no terminal, or no such run.
pub fn run(args: TopArgs) -> anyhow::Result<()> {
    if !has_terminal() || !has_cursor() {
        let text = "the dashboard needs a terminal that moves its cursor; elsewhere use `receiver ctl stats`";
        return Err(UsageError(text.to_owned()).into());
    }
    // Without a run there is nothing to show, and the reason is best read without a dashboard.
    let client = Client::connect(&args.selection)?;
    let (waker, waiting) = app::channel().context("cannot wait for keys")?;
    waiting.end_on_signals(&waker).context("cannot handle signals")?;
    let outlet = Outlet::stdout(|| ());
    let (actions, asked) = mpsc::channel();
    let app = App::open(&outlet, waiting, actions, args.interval, false, Theme::of_terminal())
        .context("cannot use the terminal for the dashboard")?;
    let mut other = Other { selection: args.selection, client: Some(client) };
    // The thread may wait for a run that hangs: the end of the process ends it.
    thread::Builder::new()
        .name("dashboard-feed".to_owned())
        .spawn(move || feed::run(&mut other, args.interval, &asked, &waker))?;
    app.run().context("cannot show the dashboard")?;
    Ok(())
}

/// A run in another process.
struct Other {
    selection: Selection,
    client: Option<Client>,
}

impl Run for Other {
    fn ask(&mut self, request: &Request) -> Result<Value, Unanswered> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.selection).map_err(|error| Unanswered::Lost(error.to_string()))?,
        };
        match client.request(request) {
            Ok(value) => {
                self.client = Some(client);
                Ok(value)
            }
            // A connection that was closed shows with the next request.
            Err(ClientError::Refused(refusal)) => {
                self.client = Some(client);
                Err(Unanswered::Refused(refusal.error))
            }
            Err(error) => Err(Unanswered::Lost(error.to_string())),
        }
    }
}
