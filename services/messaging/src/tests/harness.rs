//! The service on its stage.

use std::ops::Deref;

use kith_fold::Group;
use kith_log::RecordId;
use kith_stage::Stage;

use crate::MessagingService;

pub const ADA: RecordId = RecordId([1; 16]);
pub const BOB: RecordId = RecordId([2; 16]);
pub const EVE: RecordId = RecordId([3; 16]);

pub struct World {
    pub messaging: MessagingService,
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
        Self::of(crate::group(1)).await
    }

    pub async fn of(group: Group) -> Self {
        let stage = Stage::start(group).await;
        Self { messaging: MessagingService::new(stage.kit.clone()), stage }
    }

    /// Asks a process that has begun only now, over the same log and tables.
    pub fn another_process(&mut self) {
        self.messaging = MessagingService::new(self.stage.kit.clone());
    }

    /// Drops every table and folds the log from its beginning.
    pub async fn fold_again(&mut self) {
        self.stage.fold_again().await;
        self.messaging = MessagingService::new(self.stage.kit.clone());
    }
}
