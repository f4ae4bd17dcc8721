//! Where statements go: an engine in this process, or a server.

use std::sync::Arc;

use weir_server::Instance;

use crate::cli::ShellArgs;
use crate::client::Client;
use crate::failure::Failure;

/// A client, and the engine behind it where that is in this process.
pub struct Connection {
    pub client: Arc<Client>,
    /// Where the data is, as the user may read it.
    pub place: String,
    instance: Option<Arc<Instance>>,
}

impl Connection {
    /// Opens what the command line asks for.
    pub async fn open(args: &ShellArgs) -> Result<Connection, Failure> {
        if let Some(url) = &args.connect {
            return Connection::to_server(url).await;
        }
        let options = args.engine.instance()?;
        // Opening reads the directory and starts threads: nothing for a thread of the runtime.
        let instance = tokio::task::spawn_blocking(move || Instance::open(options))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        Connection::to_instance(instance, args.engine.place()).await
    }

    /// A session in an engine of this process.
    pub async fn to_instance(instance: Arc<Instance>, place: String) -> Result<Connection, Failure> {
        let client = Client::embedded(instance.clone())
            .await
            .map_err(|error| error.to_string())?;
        Ok(Connection {
            client: Arc::new(client),
            place,
            instance: Some(instance),
        })
    }

    async fn to_server(url: &str) -> Result<Connection, Failure> {
        let client = Client::connect(url).await.map_err(|error| error.to_string())?;
        Ok(Connection {
            client: Arc::new(client),
            place: format!("server {url}"),
            instance: None,
        })
    }

    /// Commits and stops the engine, if it is in this process.
    pub async fn close(self) {
        let Connection { client, instance, .. } = self;
        drop(client);
        if let Some(instance) = instance {
            let _ = tokio::task::spawn_blocking(move || instance.shutdown()).await;
        }
    }
}
