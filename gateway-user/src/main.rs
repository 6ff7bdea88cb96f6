//! The `gateway` program: parse, log, dispatch, exit code.

use std::process::ExitCode;

use gateway_user::{
    app,
    base::Refusal,
    cli::{self, Cli, Command, Process},
    observe::log,
    settings::{Environment, Flags, LogFormat, Settings},
};

fn main() -> ExitCode {
    let Cli { global, command } = Cli::of_process();
    let verb = match command {
        Command::Remote(verb) => return cli::remote(&global, &verb).into(),
        Command::Generate(verb) => return cli::generate(&global, &verb).into(),
        Command::Process(verb) => verb,
    };
    let (socket, json) = (global.socket.clone(), global.json);
    let result = match verb {
        Process::Version => Ok(app::version(json)),
        Process::Run(args) => {
            let (config, state, pin_dir, admin, user) =
                (args.config, args.state, args.pin_dir, args.admin, args.user);
            settings(Flags { config, state, socket, pin_dir, admin, user }).and_then(app::run)
        }
        Process::Doctor(args) => {
            let (config, state, pin_dir) = (args.config, args.state, args.pin_dir);
            settings(Flags { config, state, socket, pin_dir, ..Flags::default() })
                .and_then(|settings| app::doctor(&settings, args.interface.as_deref(), json))
        }
        Process::Detach(args) => {
            let (config, state, pin_dir) = (args.config, args.state, args.pin_dir);
            settings(Flags { config, state, socket, pin_dir, ..Flags::default() })
                .and_then(|settings| app::detach(&settings, args.interface.as_deref(), json))
        }
    };
    result.unwrap_or_else(|error| {
        let refusal = error.downcast().unwrap_or_else(|error| Refusal::new("failed", format!("{error:#}")));
        cli::print_error(&refusal, json);
        cli::REFUSED.into()
    })
}

/// The settings, with the log started as they say.
fn settings(flags: Flags) -> anyhow::Result<Settings> {
    let settings = Settings::resolve(flags, &Environment::of_process())?;
    log::start(&settings.log, settings.log_format == LogFormat::Json)?;
    Ok(settings)
}
