//! containerd's event stream: what tells the kubelet at once that something happened to a
//! container, instead of a periodic relist.
//!
//! Entry point: [`follow`], one task for the whole kubelet. It sends [`RuntimeEvent`]s into the
//! channel it is given; [`RuntimeEvent::Reconnected`] means that events may have been missed and
//! everything has to be looked at once.

use std::time::Duration;

use containerd_client::events::{ContainerDelete, TaskExit, TaskOom};
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::{PublishRequest, SubscribeRequest};
use containerd_client::types::Envelope;
use prost::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Runtime;

/// Something that happened in the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// The first process of this container or sandbox ended.
    Exited(String),
    /// The kernel killed something in this container for lack of memory.
    OutOfMemory(String),
    /// Somebody removed this container or sandbox.
    Removed(String),
    /// The set of images changed.
    Images,
    /// The stream is (again) connected: look at everything once.
    Reconnected,
    /// containerd does not answer.
    Lost,
}

/// containerd's namespace of everything made through CRI.
const NAMESPACE: &str = "k8s.io";
/// The topic of the event that we make ourselves.
const HELLO: &str = "/mizzen/hello";
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// Follows the event stream until `stop`, reconnecting for ever.
pub async fn follow(runtime: Runtime, out: mpsc::Sender<RuntimeEvent>, stop: CancellationToken) {
    let mut pause = RETRY_FIRST;
    loop {
        let session = session(&runtime, &out, &mut pause);
        if stop.run_until_cancelled(session).await.is_none() || out.send(RuntimeEvent::Lost).await.is_err() {
            return;
        }
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        pause = (pause * 2).min(RETRY_LAST);
    }
}

/// One connection's life.
async fn session(runtime: &Runtime, out: &mpsc::Sender<RuntimeEvent>, pause: &mut Duration) {
    let topics = [
        "/tasks/exit",
        "/tasks/oom",
        "/containers/delete",
        "/images/create",
        "/images/delete",
        HELLO,
    ];
    let filters = topics.map(|topic| format!("namespace=={NAMESPACE},topic==\"{topic}\""));
    let request = SubscribeRequest {
        filters: filters.to_vec(),
    };
    let mut client = EventsClient::new(runtime.channel());
    // containerd answers a subscription with its first event, so we make one, again and again until
    // it comes back: then every later one will.
    let subscribed = tokio::select! {
        subscribed = client.subscribe(request) => subscribed,
        status = greet(runtime) => Err(status),
    };
    let mut stream = match subscribed {
        Ok(answer) => answer.into_inner(),
        Err(status) => {
            tracing::debug!(%status, "containerd's events are out of reach");
            return;
        }
    };
    *pause = RETRY_FIRST;
    if out.send(RuntimeEvent::Reconnected).await.is_err() {
        return;
    }
    loop {
        match stream.message().await {
            Ok(Some(envelope)) => {
                if let Some(event) = decode(envelope)
                    && out.send(event).await.is_err()
                {
                    return;
                }
            }
            Ok(None) => return,
            Err(status) => {
                tracing::warn!(%status, "containerd's event stream broke, reconnecting");
                return;
            }
        }
    }
}

/// Publishes our own event until dropped; ends only with an error.
async fn greet(runtime: &Runtime) -> tonic::Status {
    let mut client = EventsClient::new(runtime.channel());
    let mut pause = Duration::from_millis(2);
    loop {
        let event = PublishRequest {
            topic: HELLO.to_owned(),
            event: Some(containerd_client::to_any(&ContainerDelete::default())),
        };
        let mut request = tonic::Request::new(event);
        let namespace = tonic::metadata::MetadataValue::from_static(NAMESPACE);
        request.metadata_mut().insert("containerd-namespace", namespace);
        if let Err(status) = client.publish(request).await {
            return status;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LAST);
    }
}

fn decode(envelope: Envelope) -> Option<RuntimeEvent> {
    let bytes = envelope.event.map(|any| any.value).unwrap_or_default();
    match envelope.topic.as_str() {
        "/tasks/exit" => {
            let exit = TaskExit::decode(bytes.as_slice()).ok()?;
            // An exec's exit carries the exec's id beside the container's.
            (exit.id == exit.container_id).then_some(RuntimeEvent::Exited(exit.container_id))
        }
        "/tasks/oom" => Some(RuntimeEvent::OutOfMemory(
            TaskOom::decode(bytes.as_slice()).ok()?.container_id,
        )),
        "/containers/delete" => Some(RuntimeEvent::Removed(
            ContainerDelete::decode(bytes.as_slice()).ok()?.id,
        )),
        "/images/create" | "/images/delete" => Some(RuntimeEvent::Images),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(topic: &str, message: &impl Message) -> Envelope {
        let event = prost_types::Any {
            type_url: String::new(),
            value: message.encode_to_vec(),
        };
        Envelope {
            topic: topic.to_owned(),
            event: Some(event),
            ..Default::default()
        }
    }

    #[test]
    fn an_execs_end_is_not_the_containers_end() {
        let exit = |id: &str| TaskExit {
            container_id: "c".into(),
            id: id.into(),
            ..Default::default()
        };
        assert_eq!(
            decode(envelope("/tasks/exit", &exit("c"))),
            Some(RuntimeEvent::Exited("c".into()))
        );
        assert_eq!(decode(envelope("/tasks/exit", &exit("exec-1"))), None);
    }
}
