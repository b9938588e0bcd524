//! A password that changes, for clients that live on: those that are made later read the file themselves.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use kith_live::Live;
use kith_runtime::Runtime;
use rdkafka::ClientContext;
use rdkafka::bindings::{rd_kafka_error_destroy, rd_kafka_error_string, rd_kafka_sasl_set_credentials};
use rdkafka::client::Client;
use tokio::sync::watch;

use super::settings::KafkaLogin;
use crate::LogError;

/// The user's password as its file was last read.
pub(super) struct Credentials {
    user: Arc<str>,
    password: Arc<Live<String, LogError>>,
}

/// One client's view of it.
pub(super) struct Heard {
    user: Arc<str>,
    password: watch::Receiver<Arc<String>>,
}

impl Credentials {
    /// Reads the file, and reads it again while there are credentials.
    pub fn follow(login: &KafkaLogin, runtime: &Runtime) -> Result<Self, LogError> {
        let (file, text) = (login.clone(), login.clone());
        let make = move |contents: &[Vec<u8>]| text.password_in(contents.first().map_or(&[], Vec::as_slice));
        let password = Live::open("the Kafka password", move || Ok(vec![file.read()?]), make)?;
        password.follow(runtime);
        Ok(Self { user: login.user.as_str().into(), password })
    }

    pub fn heard(&self) -> Heard {
        let mut password = self.password.subscribe();
        // The client has read the file by itself, perhaps a moment before it changed.
        password.mark_changed();
        Heard { user: Arc::clone(&self.user), password }
    }

    /// Tells of each other password, until the credentials are gone.
    pub fn changes(&self) -> watch::Receiver<Arc<String>> {
        self.password.subscribe()
    }
}

impl Heard {
    /// Has the client use the password for its next connections, if it is another one than at the last call.
    pub fn renew<C: ClientContext>(&mut self, client: &Client<C>) {
        if !self.password.has_changed().unwrap_or(false) {
            return;
        }
        let password = self.password.borrow_and_update().to_string();
        if let Err(why) = set_password(client, &self.user, password) {
            tracing::error!(why, "a changed password could not be given to a Kafka client: it needs a new start");
        }
    }
}

#[allow(unsafe_code, reason = "the binding has no safe call for it")]
fn set_password<C: ClientContext>(client: &Client<C>, user: &str, password: String) -> Result<(), String> {
    let c = |text: &str| CString::new(text).map_err(|_| "a user or password with a zero byte".to_owned());
    let (user, password) = (c(user)?, c(&password)?);
    // SAFETY: the handle lives as long as `client`, and the library copies both strings.
    let error = unsafe { rd_kafka_sasl_set_credentials(client.native_ptr(), user.as_ptr(), password.as_ptr()) };
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the error is ours until it is destroyed, its text ends with a zero byte and is copied before.
    let why = unsafe { CStr::from_ptr(rd_kafka_error_string(error)) }.to_string_lossy().into_owned();
    // SAFETY: nothing refers to it any more.
    unsafe { rd_kafka_error_destroy(error) };
    Err(why)
}
