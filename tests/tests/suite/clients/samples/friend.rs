//! Who writes to the people that samples sign up, while processes of messaging are killed.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use kith_proto::messaging::v1::conversation_service_client::ConversationServiceClient;
use kith_proto::messaging::v1::message_service_client::MessageServiceClient;
use kith_proto::messaging::v1::{GetOrCreateDirectRequest, SendMessageRequest};
use kith_runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// A message waits for the sample to accept the conversation.
const WRITTEN_WITHIN: Duration = Duration::from_secs(300);

/// Who writes to the accounts that samples make.
#[derive(Clone)]
pub struct Friend {
    pub bearer: String,
    /// To each process of messaging.
    pub channels: [Channel; 2],
}

impl Friend {
    /// Beside the caller; see [`Self::writes_to`].
    pub fn write_to(&self, account_id: &str, messages: RangeInclusive<u64>) {
        Runtime::system().spawn(self.clone().writes_to(account_id.to_owned(), messages));
    }

    /// Opens the conversation, and writes these messages in it; again with what was not answered or was not accepted yet.
    async fn writes_to(self, account_id: String, messages: RangeInclusive<u64>) {
        let open = GetOrCreateDirectRequest { account_id: account_id.clone(), ..Default::default() };
        let opened = self.asks(
            |_| open.clone(),
            |channel, open| async { ConversationServiceClient::new(channel).get_or_create_direct(open).await },
        );
        let conversation_id = opened.await.conversation.unwrap().conversation_id;
        for number in messages {
            let message = |refusals| SendMessageRequest {
                conversation_id: conversation_id.clone(),
                text: format!("message {number}"),
                request_id: format!("{account_id} {number} {refusals}"),
                ..SendMessageRequest::default()
            };
            let send = |channel, message| async { MessageServiceClient::new(channel).send_message(message).await };
            self.asks(message, send).await;
        }
    }

    /// Asks until it is granted. The request knows how often it was refused: a refused message is none for ever, and needs another
    /// request id; one that was not answered keeps its own.
    async fn asks<Q, A, F>(&self, request: impl Fn(u32) -> Q, ask: impl Fn(Channel, Request<Q>) -> F) -> A
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let (until, mut refusals) = (Instant::now() + WRITTEN_WITHIN, 0);
        for channel in self.channels.iter().cycle() {
            let mut request = Request::new(request(refusals));
            request.metadata_mut().insert("authorization", format!("Bearer {}", self.bearer).parse().unwrap());
            match ask(channel.clone(), request).await {
                Ok(answer) => return answer.into_inner(),
                Err(status) => {
                    assert!(Instant::now() < until, "{status:?}");
                    refusals += u32::from(status.code() == Code::FailedPrecondition);
                }
            }
            tokio::time::sleep(ASKED_AGAIN_AFTER).await;
        }
        unreachable!("the channels come round")
    }
}
