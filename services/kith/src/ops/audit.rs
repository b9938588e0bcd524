//! `kith.ops.v1.AuditService`: what concerns security, of three topics in one order. What is a record of the log already (operators'
//! decisions, ended sessions) is not written a second time.

mod entry;
mod page;

use std::sync::Arc;

use kith_log::{EventLog, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::ops::v1::audit_service_server::{AuditService, AuditServiceServer};
use kith_proto::ops::v1::{ReadAuditRequest, ReadAuditResponse};
use kith_service::Failure;
use kith_service::deadline::deadline;
use kith_service::page_token::PageTokens;
use tonic::{Request, Response, Status};

use super::events::shown::Shapes;
use page::Page;

/// The service. `reads`: whether this process may read security events.
pub fn service(log: Arc<dyn EventLog>, page_tokens: Arc<PageTokens>, reads: bool) -> AuditServiceServer<Audit> {
    kith_service::limited!(AuditServiceServer::new(Audit { log, page_tokens, reads, shapes: Shapes::default() }))
}

/// Answers operators.
pub struct Audit {
    log: Arc<dyn EventLog>,
    page_tokens: Arc<PageTokens>,
    reads: bool,
    shapes: Shapes,
}

#[tonic::async_trait]
impl AuditService for Audit {
    async fn read_audit(&self, request: Request<ReadAuditRequest>) -> Result<Response<ReadAuditResponse>, Status> {
        if !self.reads {
            return Err(not_here().into());
        }
        let page = Page::parse(request.get_ref(), &self.page_tokens, self.log.partition_count())?;
        Ok(Response::new(page.read(&*self.log, &self.shapes, &self.page_tokens, deadline(&request)).await?))
    }
}

fn not_here() -> Failure {
    let why = format!("{} is read by processes of the service identity only: ask one of those", topics::SECURITY.name);
    Failure::new(Reason::MethodUnknown, why)
}

#[cfg(test)]
mod tests;
