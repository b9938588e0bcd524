/// The rules of a noun. Pure: no clock, no randomness, no I/O; times and ids come with the command.
pub trait Noun {
    type Command;
    type Event;
    type State: Default;
    type Rejection: std::error::Error;

    /// What a command makes of a state. `None`: already in effect, nothing to append. A fact, or an intent where only
    /// one may win.
    fn decide(state: &Self::State, command: &Self::Command) -> Result<Option<Self::Event>, Self::Rejection>;

    /// Total: never fails. A repeat of the last event changes nothing.
    fn evolve(state: &mut Self::State, event: &Self::Event);
}
