//! A real etcd on loopback with its own data, killed with its owner.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proffer_master::store::StoreError;
use proffer_master::store::etcd::{EtcdConfig, EtcdStore};

use crate::support::within;

pub(crate) struct EtcdServer {
    data: tempfile::TempDir,
    ports: [u16; 2],
    child: Option<Child>,
}

impl EtcdServer {
    /// `None`, with the reason printed, if this machine has no etcd.
    pub(crate) async fn start() -> Option<Self> {
        let Some(program) = program() else {
            eprintln!("skipped: there is no `etcd` in PATH (Debian: apt-get install etcd-server)");
            return None;
        };
        // A port may be taken between our look and etcd's bind: look again.
        for _ in 0..5 {
            let data = tempfile::tempdir().expect("temporary directory");
            let mut server = Self { data, ports: free_ports(), child: None };
            server.spawn(&program);
            if server.answers().await {
                return Some(server);
            }
        }
        panic!("etcd does not start");
    }

    pub(crate) fn config(&self, prefix: &str) -> EtcdConfig {
        EtcdConfig {
            endpoints: vec![format!("http://127.0.0.1:{}", self.ports[0])],
            prefix: format!("/proffer/{prefix}/"),
            tls: None,
            user: None,
            quota_bytes: None,
        }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.ports[0]).into()
    }

    /// SIGKILL, as a machine that loses power would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill -9");
            child.wait().expect("reaped");
        }
    }

    /// Starts it again on its data and ports.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.spawn(&program().expect("it was there before"));
        assert!(self.answers().await, "etcd starts on its old data");
    }

    fn spawn(&mut self, program: &PathBuf) {
        let [client, peer] = self.ports.map(|port| format!("http://127.0.0.1:{port}"));
        let child = Command::new(program)
            .args(["--name", "test", "--log-level", "error", "--logger", "zap"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .arg("--data-dir")
            .arg(self.data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("start etcd"));
    }

    async fn answers(&mut self) -> bool {
        let config = self.config("probe");
        within(async {
            loop {
                match EtcdStore::connect(&config).await {
                    Ok(_) => return true,
                    Err(StoreError::Unavailable { .. }) => {}
                    Err(error) => panic!("etcd is there but: {error}"),
                }
                let child = self.child.as_mut().expect("just started");
                if child.try_wait().expect("it is our child").is_some() {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("etcd")).find(|file| file.is_file())
}

fn free_ports() -> [u16; 2] {
    let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}
