//! `kith.tokens.v1.TokenService`, which every process serves: consistency tokens are the same everywhere.

use kith_fold::Token;
use kith_log::PartitionIndex;
use kith_proto::errors::v1::Reason;
use kith_proto::tokens::v1::token_service_server::{TokenService, TokenServiceServer};
use kith_proto::tokens::v1::{MergeTokensRequest, MergeTokensResponse};
use tonic::{Request, Response, Status};

use crate::Failure;
use crate::auth::Asker;
use crate::limits::TOKENS_PER_MERGE;

/// Knows how many partitions a topic has; all else that it needs is in the tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokens {
    partition_count: PartitionIndex,
}

impl Tokens {
    pub fn server(partition_count: PartitionIndex) -> TokenServiceServer<Self> {
        crate::limited!(TokenServiceServer::new(Self { partition_count }))
    }

    fn merge(self, tokens: &[String]) -> Result<Token, Failure> {
        if tokens.len() > TOKENS_PER_MERGE {
            return Err(too_many(tokens.len()));
        }
        let mut merged = Token::default();
        for (index, text) in tokens.iter().enumerate() {
            let token = Token::decode(text, self.partition_count);
            merged.merge(&token.map_err(|_| Failure::consistency_token_invalid(&format!("tokens[{index}]")))?);
        }
        Ok(merged)
    }
}

fn too_many(has: usize) -> Failure {
    let description = format!("has {has} tokens, the limit is {TOKENS_PER_MERGE}");
    let failure = Failure::new(Reason::TooManyTokens, format!("tokens {description}")).violation("tokens", description);
    failure.with("field", "tokens").with("has", has).with("limit", TOKENS_PER_MERGE)
}

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn merge_tokens(
        &self,
        request: Request<MergeTokensRequest>,
    ) -> Result<Response<MergeTokensResponse>, Status> {
        Asker::reading(&request)?;
        let token = self.merge(&request.get_ref().tokens)?.encode();
        Ok(Response::new(MergeTokensResponse { token }))
    }
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position, topics};

    use super::*;

    const TOKENS: Tokens = Tokens { partition_count: 16 };

    fn position(n: u64) -> Position {
        let topic = topics::ALL[n as usize % topics::ALL.len()];
        Position { partition: LogPartition { topic, index: (n / 7 % 16) as PartitionIndex }, offset: n * 31 % 997 }
    }

    fn names(failure: &Failure) -> Vec<&str> {
        failure.field_violations().iter().map(|violation| &*violation.field).collect()
    }

    #[test]
    fn one_token_stands_for_all_of_them() {
        let positions: Vec<Position> = (0..TOKENS_PER_MERGE as u64).map(position).collect();
        let texts: Vec<String> = positions.iter().map(|&position| Token::from(position).encode()).collect();
        let merged = TOKENS.merge(&texts).unwrap();
        assert_eq!(merged, positions.into_iter().collect());
        assert_eq!(TOKENS.merge(&[merged.encode(), texts[0].clone()]).unwrap(), merged, "it can be merged again");
        assert_eq!(TOKENS.merge(&[]).unwrap(), Token::default());
    }

    #[test]
    fn what_is_no_token_is_named_by_its_place() {
        let mut texts = vec![Token::from(position(1)).encode(); 9];
        texts[7] = "AQ".into();
        let failure = TOKENS.merge(&texts).unwrap_err();
        assert_eq!((failure.reason(), names(&failure)), (Reason::ConsistencyTokenInvalid, vec!["tokens[7]"]));
    }

    #[test]
    fn more_than_a_thousand_are_refused() {
        let texts = vec![Token::from(position(1)).encode(); TOKENS_PER_MERGE + 1];
        let failure = TOKENS.merge(&texts).unwrap_err();
        assert_eq!((failure.reason(), names(&failure)), (Reason::TooManyTokens, vec!["tokens"]));
    }
}
