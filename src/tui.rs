//! `mizzen tui`: the terminal UI. Plain `mizzen` on a terminal is the same.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mizzen_tui::app::Setup;
use mizzen_tui::tasks::connect;
use mizzen_tui::theme::Theme;

use crate::cli::Connect;
use crate::cli::error::fail;

/// Watch a cluster and act on it, in the terminal
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to show first: `pods kube-system /web`, or a locator such as `pods?ns=a,b&filter=web`
    #[arg(value_name = "VIEW")]
    view: Vec<String>,
    /// All namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Change nothing
    #[arg(long, env = "MIZZEN_TUI_READ_ONLY")]
    read_only: bool,
    /// Colours: dark, light, high-contrast, 16, none
    #[arg(long, value_name = "NAME", env = "MIZZEN_TUI_SKIN")]
    skin: Option<String>,
    /// Contexts whose names contain this ask for their name before every write
    #[arg(long, value_name = "WORD", default_values_t = ["prod".to_owned()], env = "MIZZEN_TUI_PROTECT", value_delimiter = ',')]
    protect: Vec<String>,
    /// Leave the mouse to the terminal
    #[arg(long)]
    no_mouse: bool,
    /// File to write every event to, for replay
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
}

impl Args {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            return fail("the terminal UI needs a terminal; `mizzen get` and the others do without");
        }
        let theme = match &self.skin {
            None => Theme::detect(|name| std::env::var(name).ok()),
            Some(name) => match Theme::named(name) {
                Some(theme) => theme,
                None => {
                    return fail(format!(
                        "there is no skin {name:?}: dark, light, high-contrast, 16, none"
                    ));
                }
            },
        };
        let namespaces = match (self.all_namespaces, self.connect.namespace) {
            (true, _) => Some(Vec::new()),
            (false, Some(names)) => Some(names.split(',').map(ToOwned::to_owned).collect()),
            (false, None) => None,
        };
        let options = mizzen_tui::Options {
            connect: connect::Options {
                kubeconfig: self.connect.kubeconfig,
                client: None,
            },
            setup: Setup {
                context: self.connect.context,
                namespaces,
                view: self.view.join(" "),
                theme,
                read_only: self.read_only,
                protected: self.protect.into_iter().filter(|word| !word.is_empty()).collect(),
            },
            keys: home().map(|home| home.join(".config/mizzen/keys.yaml")),
            record: self.record,
            mouse: !self.no_mouse,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let result = runtime.block_on(mizzen_tui::run(options));
        // A read from the terminal would hold the program until the next key.
        runtime.shutdown_background();
        result.map(|()| ExitCode::SUCCESS)
    }
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| Path::new(&home).to_owned())
}
