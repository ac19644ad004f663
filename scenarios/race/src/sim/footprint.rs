//! What a step reads and writes: two steps of different actors that do not meet may change places.

/// Things that steps touch, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    reads: u128,
    writes: u128,
}

/// Something that steps touch. Of each kind so many are told apart; more share a bit, which is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    /// A token's row and its lock.
    Token(u32),
    /// A Domain's allocator.
    Allocator(u32),
    /// The Nodes of a Domain.
    Nodes(u32),
    /// The nonces of a Project.
    Nonces(u32),
    /// The control plane's clock.
    Clock,
    /// The order of an actor's answers before others' calls.
    Answer(u16),
    /// The row of a Resource or an assignment.
    Row(u32),
    /// The cluster.
    Cluster,
}

impl Thing {
    fn bit(self) -> u128 {
        let place = match self {
            Self::Token(number) => number % 24,
            Self::Allocator(number) => 24 + number % 8,
            Self::Nodes(number) => 32 + number % 8,
            Self::Nonces(number) => 40 + number % 8,
            Self::Row(number) => 48 + number % 8,
            Self::Clock => 56,
            Self::Cluster => 57,
            Self::Answer(number) => 64 + u32::from(number) % 64,
        };
        1 << place
    }
}

impl Footprint {
    /// Touches everything: can change places with nothing.
    pub const ALL: Self = Self { reads: u128::MAX, writes: u128::MAX };

    /// Reads this.
    pub fn read(&mut self, thing: Thing) {
        self.reads |= thing.bit();
    }

    /// Writes this.
    pub fn write(&mut self, thing: Thing) {
        self.writes |= thing.bit();
    }

    /// Reads all answers: a call begins.
    pub fn read_answers(&mut self) {
        self.reads |= u128::MAX << 64;
    }

    /// Whether two steps may change places.
    pub fn apart(self, other: Self) -> bool {
        self.writes & (other.reads | other.writes) == 0 && self.reads & other.writes == 0
    }
}
