//! `kith.messaging.v1`: `ConversationService` and `MessageService`.

mod conversations;
mod messages;

use std::sync::Arc;

use kith_log::{Position, RecordId, topics};
use kith_proto::Event;
use kith_proto::messaging::v1::conversation_service_server::ConversationServiceServer;
use kith_proto::messaging::v1::message_service_server::MessageServiceServer;
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_service::auth::caller;
use kith_service::deadline::{Deadline, deadline};
use kith_service::kit::{Command, Kit, Seen};
use kith_service::{Failure, limited};
use tonic::service::RoutesBuilder;
use tonic::{Request, Status};

/// The handlers of both gRPC services; cheap to clone.
#[derive(Clone)]
pub struct MessagingService {
    kit: Arc<Kit>,
}

/// Who asks, and how long there is.
#[derive(Clone, Copy)]
struct Call {
    caller: RecordId,
    deadline: Deadline,
}

impl Call {
    fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        Ok(Self { caller: caller(request)?.account_id, deadline: deadline(request) })
    }
}

impl MessagingService {
    pub fn new(kit: Arc<Kit>) -> Self {
        Self { kit }
    }

    /// Adds both gRPC services.
    pub fn add_to(&self, routes: &mut RoutesBuilder) {
        routes
            .add_service(limited!(ConversationServiceServer::new(self.clone())))
            .add_service(limited!(MessageServiceServer::new(self.clone())));
    }
}

async fn append(
    seen: &Seen<'_>,
    conversation_id: RecordId,
    id: RecordId,
    event: MessagingEvent,
    deadline: Deadline,
) -> Result<Position, Failure> {
    let key = conversation_id.to_string();
    let command = Command { topic: topics::MESSAGING, key: &key, id, event: Event::Messaging(event) };
    seen.append(command, deadline).await
}
