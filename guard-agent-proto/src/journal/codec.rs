//! Numbers as the journal writes them: seven bits a byte, low ones first.

use alloc::vec::Vec;

use crate::Seq;
use crate::journal::spans::Spans;

/// Longest encoding of a number, in bytes.
const LONGEST: usize = 10;

pub(super) fn push_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(low_byte(number) | 0x80);
        number >>= 7;
    }
    out.push(low_byte(number));
}

pub(super) fn push_signed(number: i64, out: &mut Vec<u8>) {
    push_number((number << 1 ^ number >> 63).cast_unsigned(), out);
}

/// Each span as its distance from the last one and its length.
pub(super) fn push_spans(spans: &Spans, out: &mut Vec<u8>) {
    push_number(spans.iter().count() as u64, out);
    let mut end = 0;
    for (first, last) in spans.iter() {
        push_number(first.as_u64().wrapping_sub(end), out);
        push_number(last.as_u64() - first.as_u64(), out);
        end = last.as_u64();
    }
}

const fn low_byte(number: u64) -> u8 {
    (number & 0x7f) as u8
}

/// `None` for one that no agent gets to. With those that are left nobody who counts gets beyond his numbers.
pub(super) fn place(number: u64) -> Option<Seq> {
    Some(Seq::from_u64(number)).filter(|seq| seq.origin() == 0)
}

/// Reads what was written, from bytes that may be anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in 0..LONGEST {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * place);
            if shifted >> (7 * place) != bits {
                return None;
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn spans(&mut self) -> Option<Spans> {
        let mut spans = Spans::default();
        let mut end = 0_u64;
        for nth in 0..self.number()? {
            let gap = self.number()?;
            // They neither touch nor go back, so that they can only be written in one way.
            let first = end.checked_add(gap).filter(|_| nth == 0 || gap > 1)?;
            end = first.checked_add(self.number()?)?;
            spans.push(place(first)?, place(end)?);
        }
        Some(spans)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers of every length, and those at which something ends.
    pub(in crate::journal) fn number() -> impl Strategy<Value = u64> {
        const ENDS: &[u64] = &[0, 1, 2, (1 << 48) - 1, 1 << 48, u64::MAX >> 1, u64::MAX - 1, u64::MAX];
        prop_oneof![
            (any::<u64>(), 0u32..64).prop_map(|(number, shift)| number >> shift),
            prop::sample::select(ENDS),
        ]
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_written_and_no_cut_of_them_is_one(number in number(), negative: bool) {
            let signed = if negative { !number.cast_signed() } else { number.cast_signed() };
            let mut bytes = Vec::new();
            push_number(number, &mut bytes);
            let length = bytes.len();
            prop_assert_eq!(length, number.max(1).ilog2() as usize / 7 + 1);
            push_signed(signed, &mut bytes);
            let mut reader = Reader(&bytes);
            prop_assert_eq!((reader.number(), reader.is_empty()), (Some(number), false));
            prop_assert_eq!((reader.signed(), reader.is_empty()), (Some(signed), true));
            prop_assert_eq!(Reader(&bytes[..length - 1]).number(), None);
        }
    }

    #[test]
    fn what_does_not_fit_a_number_is_none() {
        let mut bytes = [0xff; LONGEST + 1];
        assert_eq!(Reader(&bytes).number(), None, "endless");
        bytes[LONGEST - 1] = 1;
        assert_eq!(Reader(&bytes).number(), Some(u64::MAX));
        bytes[LONGEST - 1] = 2;
        assert_eq!(Reader(&bytes).number(), None, "a bit too many");
    }

    #[test]
    fn spans_that_touch_or_leave_the_numbers_are_none() {
        let read = |numbers: &[u64]| {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| push_number(*number, &mut bytes));
            Reader(&bytes).spans().map(|spans| spans.iter().count())
        };
        assert_eq!(read(&[0]), Some(0));
        assert_eq!(read(&[2, 0, 3, 2, 0]), Some(2), "0 to 3, and 5");
        assert_eq!(read(&[2, 0, 3, 1, 0]), None, "0 to 3, and 4");
        assert_eq!(read(&[2, 0, 3, 0, 0]), None, "0 to 3, and 3");
        assert_eq!(read(&[1, u64::MAX, 1]), None);
        assert_eq!(read(&[2, 5, 0, u64::MAX, 0]), None);
        assert_eq!(read(&[2, 5, 0]), None, "one is missing");
        assert_eq!(read(&[1, 0, u64::MAX]), None, "more places than there are numbers");
        assert_eq!(read(&[1, 0, 1 << 48]), None, "more than an agent has");
        assert_eq!(read(&[1, 0, (1 << 48) - 1]), Some(1));
    }
}
