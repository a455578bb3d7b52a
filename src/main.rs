//! The `mizzen` program: the server, the agent, and a scripted client for any Kubernetes.
//!
//! Wiring only. A subcommand is one file with an `Args` that can `run`, one `mod` line and one row in
//! the table below; what the client commands share is under `cli`.

mod agent;
mod annotate;
mod api_resources;
mod apply;
mod attach;
mod auth;
mod cli;
mod config;
mod cordon;
mod cp;
mod create;
mod dashboard;
mod datastore;
mod delete;
mod demo;
mod describe;
mod diff;
mod drain;
mod edit;
mod events;
mod exec;
mod explain;
mod expose;
mod get;
mod killall;
mod label;
mod logging;
mod logs;
mod node_flags;
mod patch;
mod port_forward;
mod rollout;
mod run;
mod scale;
mod server;
mod set;
mod supervise;
mod taint;
mod token;
mod top;
mod tui;
mod uncordon;
mod uninstall;
mod version;
mod wait;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;

/// The table of subcommands: a variant for clap, and the module whose `Args` it holds.
macro_rules! commands {
    ($($name:ident => $module:ident,)*) => {
        #[derive(clap::Subcommand)]
        enum Command {
            $($name($module::Args),)*
        }

        impl Command {
            fn run(self) -> anyhow::Result<ExitCode> {
                match self {
                    $(Self::$name(args) => args.run(),)*
                }
            }
        }
    };
}

commands! {
    Get => get,
    Describe => describe,
    Create => create,
    Apply => apply,
    Delete => delete,
    Logs => logs,
    Exec => exec,
    Attach => attach,
    PortForward => port_forward,
    Cp => cp,
    Scale => scale,
    Rollout => rollout,
    Wait => wait,
    Label => label,
    Annotate => annotate,
    Patch => patch,
    Set => set,
    Edit => edit,
    Diff => diff,
    Expose => expose,
    Run => run,
    Taint => taint,
    Cordon => cordon,
    Uncordon => uncordon,
    Drain => drain,
    Top => top,
    Events => events,
    Explain => explain,
    Auth => auth,
    ApiResources => api_resources,
    Dashboard => dashboard,
    Datastore => datastore,
    Version => version,
    Tui => tui,
    Server => server,
    Agent => agent,
    Token => token,
    Supervise => supervise,
    Demo => demo,
    Killall => killall,
    Uninstall => uninstall,
}

/// Kubernetes in one program.
#[derive(Parser)]
#[command(name = "mizzen", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Reuses what was freed last, where the C library's hands out what lies cold the longest: objects come and go by the
/// thousand here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.len() == 1 && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        arguments.push("tui".into());
    }
    let ran = config::merge(arguments).and_then(|arguments| Arguments::parse_from(arguments).command.run());
    match ran {
        Ok(code) => code,
        Err(error) => cli::error::report(&error),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_table_of_flags_is_sound() {
        Arguments::command().debug_assert();
    }
}
