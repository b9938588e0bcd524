//! Handles: the names that accounts are found by and mentioned with.

use std::collections::BTreeSet;

/// The shortest handle, in characters.
pub const HANDLE_CHARS_MIN: usize = 3;
/// The longest handle, in characters.
pub const HANDLE_CHARS_MAX: usize = 30;

/// Whether `text`, as it stands, is a normalised handle: `[a-z0-9_]{3,30}`.
pub fn is_handle(text: &str) -> bool {
    let sized = (HANDLE_CHARS_MIN..=HANDLE_CHARS_MAX).contains(&text.len());
    sized && text.chars().all(|c| is_handle_char(c) && !c.is_ascii_uppercase())
}

/// What a handle consists of before upper case is lowered.
pub fn is_handle_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Handles that no new account can have. The default reserves none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReservedHandles(BTreeSet<String>);

impl ReservedHandles {
    /// Lowers upper case. Fails with what is no handle: nobody could claim it.
    pub fn new<T: AsRef<str>>(handles: impl IntoIterator<Item = T>) -> Result<Self, NotAHandle> {
        let normalised = |handle: T| {
            let handle = handle.as_ref().to_ascii_lowercase();
            if is_handle(&handle) { Ok(handle) } else { Err(NotAHandle(handle)) }
        };
        handles.into_iter().map(normalised).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a normalised handle is reserved.
    pub fn contains(&self, handle: &str) -> bool {
        self.0.contains(handle)
    }
}

/// Handles for which no other one may be taken. The default has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WellKnownHandles {
    all: ReservedHandles,
    /// By their skeletons.
    looks: BTreeSet<String>,
}

impl WellKnownHandles {
    /// Fails as [`ReservedHandles::new`] does.
    pub fn new<T: AsRef<str>>(handles: impl IntoIterator<Item = T>) -> Result<Self, NotAHandle> {
        let all = ReservedHandles::new(handles)?;
        Ok(Self { looks: all.looks(), all })
    }

    /// The same, and with these; a reserved handle is not to be imitated either.
    #[must_use]
    pub fn and(mut self, reserved: &ReservedHandles) -> Self {
        self.looks.extend(reserved.looks());
        self.all.0.extend(reserved.0.iter().cloned());
        self
    }

    /// Whether a normalised handle could be taken for one of them. None of them is: who may have it is not asked here.
    pub fn is_imitated_by(&self, handle: &str) -> bool {
        !self.all.contains(handle) && self.looks.contains(&skeleton(handle))
    }
}

impl ReservedHandles {
    fn looks(&self) -> BTreeSet<String> {
        self.0.iter().map(|handle| skeleton(handle)).filter(|skeleton| !skeleton.is_empty()).collect()
    }
}

/// What a handle looks like at a glance: two with the same skeleton may be taken for one another. As in Unicode's UTS 39, of which ASCII
/// needs only this: `0` and `o`, `1`, `i` and `l`, `5` and `s`, `m` and `rn`, `w` and `vv` look alike, and `_` is hardly seen.
pub fn skeleton(handle: &str) -> String {
    let mut seen = String::with_capacity(handle.len());
    for c in handle.chars() {
        match c {
            '_' => {}
            '0' => seen.push('o'),
            '1' | 'i' => seen.push('l'),
            '5' => seen.push('s'),
            'm' => seen.push_str("rn"),
            'w' => seen.push_str("vv"),
            other => seen.push(other),
        }
    }
    seen
}

/// A text that is no handle, however its letters are lowered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a handle: {HANDLE_CHARS_MIN} to {HANDLE_CHARS_MAX} of a-z, 0-9 and _")]
pub struct NotAHandle(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_lower_case_ascii_of_bounded_length() {
        for handle in ["ada", "a_9", "___", "123", &"x".repeat(HANDLE_CHARS_MAX)] {
            assert!(is_handle(handle), "{handle}");
        }
        for none in ["", "ab", "Ada", "a.b", "ädä", "a b", "@ada", "ｂｏｂ", &"x".repeat(HANDLE_CHARS_MAX + 1)] {
            assert!(!is_handle(none), "{none}");
        }
    }

    #[test]
    fn what_could_be_taken_for_a_well_known_handle_is_found() {
        let known = WellKnownHandles::new(["Microsoft", "paypal", "wwf"]).unwrap();
        let known = known.and(&ReservedHandles::new(["admin", "support"]).unwrap());
        for imitates in
            ["micros0ft", "rnicrosoft", "m1cro_soft", "mlcr05oft", "paypa1", "_paypal_", "vvvvf", "wvvf", "adm1n"]
        {
            assert!(known.is_imitated_by(imitates), "{imitates}");
        }
        for other in ["microsoft", "paypal", "support", "admin", "microsofts", "paypals", "payal", "___", "ada"] {
            assert!(!known.is_imitated_by(other), "{other}");
        }
        assert!(!WellKnownHandles::new(["___"]).unwrap().is_imitated_by("____"), "what looks like nothing");
        assert!(!WellKnownHandles::default().is_imitated_by("adm1n"));
    }

    #[test]
    fn reserved_handles_are_handles() {
        let reserved = ReservedHandles::new(["Admin", "here"]).unwrap();
        assert!(reserved.contains("admin") && reserved.contains("here") && !reserved.contains("admins"));
        assert_eq!(ReservedHandles::new([] as [&str; 0]).unwrap(), ReservedHandles::default());
        let error = ReservedHandles::new(["admin", "no handle"]).unwrap_err().to_string();
        assert_eq!(error, "`no handle` is not a handle: 3 to 30 of a-z, 0-9 and _");
    }
}
