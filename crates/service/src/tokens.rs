//! `kith.tokens.v1.TokenService`, which every process serves: consistency tokens are the same everywhere.

use kith_fold::Token;
use kith_proto::errors::v1::Reason;
use kith_proto::tokens::v1::token_service_server::{TokenService, TokenServiceServer};
use kith_proto::tokens::v1::{MergeTokensRequest, MergeTokensResponse};
use tonic::{Request, Response, Status};

use crate::Failure;
use crate::auth::Asker;
use crate::consistency_token::ConsistencyTokens;
use crate::limits::TOKENS_PER_MERGE;

/// All that it needs is in the tokens.
#[derive(Clone)]
pub(crate) struct Tokens(ConsistencyTokens);

impl Tokens {
    pub fn server(tokens: ConsistencyTokens) -> TokenServiceServer<Self> {
        crate::limited!(TokenServiceServer::new(Self(tokens)))
    }

    fn merge(&self, tokens: &[String]) -> Result<Token, Failure> {
        if tokens.len() > TOKENS_PER_MERGE {
            return Err(too_many(tokens.len()));
        }
        let mut merged = Token::default();
        for (index, text) in tokens.iter().enumerate() {
            merged.merge(&self.0.open(&format!("tokens[{index}]"), text)?);
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
        let token = self.0.seal(&self.merge(&request.get_ref().tokens)?)?;
        Ok(Response::new(MergeTokensResponse { token }))
    }
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, PartitionIndex, Position, topics};
    use kith_runtime::Runtime;

    use super::*;

    fn tokens() -> Tokens {
        Tokens(ConsistencyTokens::new(&[1; 32], 16, Runtime::system()).unwrap())
    }

    fn sealed(position: Position) -> String {
        tokens().0.seal(&position.into()).unwrap()
    }

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
        let texts: Vec<String> = positions.iter().map(|&position| sealed(position)).collect();
        let merged = tokens().merge(&texts).unwrap();
        assert_eq!(merged, positions.into_iter().collect());
        assert_eq!(
            tokens().merge(&[tokens().0.seal(&merged).unwrap(), texts[0].clone()]).unwrap(),
            merged,
            "it can be merged again"
        );
        assert_eq!(tokens().merge(&[]).unwrap(), Token::default());
    }

    #[test]
    fn what_is_no_token_is_named_by_its_place() {
        let mut texts = vec![sealed(position(1)); 9];
        texts[7] = "AQ".into();
        let failure = tokens().merge(&texts).unwrap_err();
        assert_eq!((failure.reason(), names(&failure)), (Reason::ConsistencyTokenInvalid, vec!["tokens[7]"]));
        let strangers = ConsistencyTokens::new(&[2; 32], 16, Runtime::system()).unwrap();
        texts[7] = strangers.seal(&Token::default()).unwrap();
        let failure = tokens().merge(&texts).unwrap_err();
        assert_eq!((failure.reason(), names(&failure)), (Reason::ConsistencyTokenExpired, vec!["tokens[7]"]));
    }

    #[test]
    fn more_than_a_thousand_are_refused() {
        let texts = vec![sealed(position(1)); TOKENS_PER_MERGE + 1];
        let failure = tokens().merge(&texts).unwrap_err();
        assert_eq!((failure.reason(), names(&failure)), (Reason::TooManyTokens, vec!["tokens"]));
    }
}
