/// Why a fold cannot continue, for now or at all.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FoldError {
    #[error(transparent)]
    Store(#[from] kith_tables::StoreError),
    #[error(transparent)]
    Log(#[from] kith_log::LogError),
    #[error(transparent)]
    Append(#[from] kith_log::AppendError),
    /// The partition stops until an operator or an upgrade fixes it: an unknown event type, a fold that reads a row
    /// outside its scope.
    #[error("stopped: {0}")]
    Stopped(String),
    /// The same, if from `from` on the log has other records than the tables, or none.
    #[error(
        "stopped: the log lost its tail, {partition} differs from its tables at offset {from}: fill them anew from what \
         the log has, by a rebuild and a promotion"
    )]
    LostTail { partition: kith_log::LogPartition, from: kith_log::Offset },
}

impl FoldError {
    /// Whether a retry can help: a server that is down may come back; a row too large stays too large, and tables or a
    /// log with other content need an operator.
    pub(crate) fn may_pass(&self) -> bool {
        use kith_log::LogError::{Closed, Unavailable};
        match self {
            Self::Store(kith_tables::StoreError::Unavailable(_))
            | Self::Log(Unavailable(_) | Closed)
            | Self::Append(_) => true,
            // With the process, which will restart.
            _ if self.needs_restart() => true,
            Self::Store(_) | Self::Log(_) | Self::Stopped(_) | Self::LostTail { .. } => false,
        }
    }

    /// Whether no write is possible until the process restarts and recovers from the disk.
    pub(crate) fn needs_restart(&self) -> bool {
        use kith_log::LogError;
        use kith_tables::StoreError;
        matches!(self, Self::Store(StoreError::Broken(_)) | Self::Log(LogError::Broken(_)))
    }
}
