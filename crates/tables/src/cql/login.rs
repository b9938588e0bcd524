//! Logs in with the password that the file has at that moment.

use async_trait::async_trait;
use scylla::authentication::{AuthError, AuthenticatorProvider, AuthenticatorSession, PlainTextAuthenticator};

use super::CqlLogin;

#[async_trait]
impl AuthenticatorProvider for CqlLogin {
    /// Called for each connection, to a node whose certificate was verified first.
    async fn start_authentication_session(
        &self,
        authenticator: &str,
    ) -> Result<(Option<Vec<u8>>, Box<dyn AuthenticatorSession>), AuthError> {
        let refused = |why: String| format!("{}: {why}", self.password_file.display());
        let text = tokio::fs::read_to_string(&self.password_file).await.map_err(|error| refused(error.to_string()))?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(refused("it holds no password".to_owned()));
        }
        let plain = PlainTextAuthenticator::new(self.user.clone(), password.to_owned());
        plain.start_authentication_session(authenticator).await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn the_password_is_that_of_the_file_now() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let login = CqlLogin { user: "kith_posts".to_owned(), password_file: file.path().to_owned() };
        let error = login.start_authentication_session("").await.err().unwrap();
        assert!(error.contains("holds no password") && error.contains(&*file.path().to_string_lossy()), "{error}");
        file.write_all(b"open sesame\n").unwrap();
        let (first, _) = login.start_authentication_session("").await.unwrap();
        assert_eq!(first.as_deref(), Some(&b"\0kith_posts\0open sesame"[..]));
    }
}
