//! The service on its stage.

use std::ops::Deref;

use kith_log::RecordId;
use kith_stage::Stage;
use tonic::Status;
use tonic_types::StatusExt;

use crate::PostsService;

pub const ADA: RecordId = RecordId([1; 16]);
pub const BOB: RecordId = RecordId([2; 16]);

pub struct World {
    pub posts: PostsService,
    stage: Stage,
}

impl Deref for World {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl World {
    pub async fn start() -> Self {
        let stage = Stage::start(crate::group(1)).await;
        Self { posts: PostsService::new(stage.kit.clone()), stage }
    }

    /// Drops every table and folds the log from its beginning.
    pub async fn fold_again(&mut self) {
        self.stage.fold_again().await;
        self.posts = PostsService::new(self.stage.kit.clone());
    }
}

pub fn metadata(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.get(key).cloned()
}
