//! `weir serve`: the server until a signal stops it.

use tokio::signal::unix::{SignalKind, signal};
use weir_server::{ServeOptions, serve};

use crate::cli::ServeArgs;
use crate::failure::Failure;
use crate::screen::Screen;

/// Serves until SIGTERM or SIGINT, then commits and ends. A second signal ends at once.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let options = ServeOptions {
        instance: args.engine.instance()?,
        listen: args.listen,
        http: args.http,
    };
    let place = args.engine.place();
    let runtime = crate::runtime()?;
    let screen = Screen::of_process();
    let served = runtime.block_on(async {
        let stop = stop(screen)?;
        // Whoever started the server may not read what it prints; it serves all the same.
        let say = move |text: String| drop(screen.line(&text));
        let ready = move |bound: weir_server::BoundAddresses| {
            say(format!("gRPC (Arrow Flight SQL) on http://{}", bound.grpc));
            if let Some(http) = bound.http {
                say(format!("HTTP (/healthz, /metrics) on http://{http}"));
            }
            say(place);
        };
        serve(options, ready, stop)
            .await
            .map_err(|error| Failure::Message(error.to_string()))
    });
    crate::end(runtime);
    served
}

/// Ends with the first signal, and the process with the second.
fn stop(screen: Screen) -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::Message(format!("can't listen for signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        screen.error_line("stopping; a second signal ends at once");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
    })
}
