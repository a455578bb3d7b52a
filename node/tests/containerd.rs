//! Our containerd in a world of its own: started, killed, adopted. Needs root, containerd and runc.

use std::path::Path;
use std::time::Duration;

use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::{ImageSpec, ImageStatusRequest};
use mizzen_node::containerd::{Containerd, Settings, channel};
use mizzen_node::images::PAUSE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    settings: Settings,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self {
            settings: Settings {
                data_dir: dir.path().to_owned(),
                endpoint: None,
            },
            _dir: dir,
        }
    }

    fn pid(&self) -> Pid {
        let text = std::fs::read_to_string(self.settings.state_dir().join("containerd.pid")).expect("a pid file");
        Pid::from_raw(text.trim().parse().expect("a pid"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = kill(self.pid(), Signal::SIGKILL);
        // Its end closes the mounts that containerd keeps in its state directory.
        for _ in 0..100 {
            if !Path::new(&format!("/proc/{}", self.pid())).exists() {
                break;
            }
            std::hint::spin_loop();
        }
    }
}

async fn wait(ready: &mut tokio::sync::watch::Receiver<bool>, state: bool) {
    let waited = tokio::time::timeout(PATIENCE, ready.wait_for(|ready| *ready == state)).await;
    waited
        .expect("containerd changes its state in time")
        .expect("the supervisor lives");
}

async fn has_image(socket: &Path, name: &str) -> bool {
    let image = Some(ImageSpec {
        image: name.to_owned(),
        ..ImageSpec::default()
    });
    let request = ImageStatusRequest {
        image,
        ..ImageStatusRequest::default()
    };
    let status = ImageServiceClient::new(channel(socket))
        .image_status(request)
        .await
        .expect("CRI answers");
    status.into_inner().image.is_some()
}

#[tokio::test]
async fn survives_kills_and_restarts() {
    let world = World::new();
    let socket = world.settings.socket();
    let stop = CancellationToken::new();
    let containerd = Containerd::new(world.settings.clone());
    let mut ready = containerd.ready();
    let task = tokio::spawn(containerd.run(stop.clone()));
    wait(&mut ready, true).await;
    for name in [PAUSE, "mizzen.local/hello:v1", "mizzen.local/hello:v2"] {
        // The CRI plugin learns of images by event.
        let seen = async { while !has_image(&socket, name).await {} };
        tokio::time::timeout(PATIENCE, seen)
            .await
            .unwrap_or_else(|_| panic!("{name} is not there"));
    }

    let first = world.pid();
    kill(first, Signal::SIGKILL).expect("our containerd can be killed");
    wait(&mut ready, false).await;
    wait(&mut ready, true).await;
    let second = world.pid();
    assert_ne!(first, second);

    stop.cancel();
    task.await.expect("no panic").expect("a clean end");
    let again = Containerd::new(world.settings.clone());
    let mut ready = again.ready();
    let stop = CancellationToken::new();
    let task = tokio::spawn(again.run(stop.clone()));
    wait(&mut ready, true).await;
    assert_eq!(world.pid(), second, "a running containerd is adopted");
    kill(second, Signal::SIGKILL).expect("an adopted containerd can be killed");
    wait(&mut ready, false).await;
    wait(&mut ready, true).await;
    stop.cancel();
    task.await.expect("no panic").expect("a clean end");
}
