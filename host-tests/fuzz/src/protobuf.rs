//! Mutations of a protobuf message that keep it one: fields are taken out, doubled, exchanged between places, their numbers and bytes
//! changed, at any depth.

use crate::mutate;
use crate::random::Random;

/// Most levels of messages within each other.
const DEPTH: usize = 8;

/// The content of a field.
#[derive(Clone, Debug)]
enum Content {
    Number(u64),
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

#[derive(Clone, Debug)]
struct Field {
    key: u64,
    content: Content,
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn put_varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn parse(bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let (mut at, mut fields) = (0, Vec::new());
    while at < bytes.len() {
        let key = varint(bytes, &mut at)?;
        let mut take = |len: usize| {
            let part = bytes.get(at..at.checked_add(len)?)?.to_vec();
            at += len;
            Some(part)
        };
        let content = match key & 7 {
            0 => Content::Number(varint(bytes, &mut at)?),
            1 => Content::Fixed(take(8)?),
            5 => Content::Fixed(take(4)?),
            2 => {
                let len = usize::try_from(varint(bytes, &mut at)?).ok()?;
                let part = bytes.get(at..at.checked_add(len)?)?;
                at += len;
                let text = part.iter().all(|byte| (0x20..0x7f).contains(byte));
                let message = if text || depth == 0 {
                    None
                } else {
                    parse(part, depth - 1)
                };
                message.map_or_else(|| Content::Bytes(part.to_vec()), Content::Message)
            }
            _ => return None,
        };
        if key >> 3 == 0 {
            return None;
        }
        fields.push(Field { key, content });
    }
    Some(fields)
}

fn write(fields: &[Field], to: &mut Vec<u8>) {
    for Field { key, content } in fields {
        put_varint(*key, to);
        let part = match content {
            Content::Number(number) => {
                put_varint(*number, to);
                continue;
            }
            Content::Fixed(bytes) => {
                to.extend(bytes);
                continue;
            }
            Content::Bytes(bytes) => bytes.clone(),
            Content::Message(fields) => {
                let mut part = Vec::new();
                write(fields, &mut part);
                part
            }
        };
        put_varint(part.len() as u64, to);
        to.extend(part);
    }
}

/// Changes the message in `bytes`, or its bytes if it is none. `other`: another message, whose fields it may get.
pub fn mutate(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let Some(mut fields) = parse(bytes, DEPTH) else {
        let mut bytes = bytes.to_vec();
        mutate::bytes(&mut bytes, random);
        return bytes;
    };
    let other = parse(other, DEPTH).unwrap_or_default();
    for _ in 0..1 + random.below(3) {
        let donor = somewhere(&other, random);
        change(&mut fields, donor, random);
    }
    let mut out = Vec::new();
    write(&fields, &mut out);
    out
}

/// A field at any depth.
fn somewhere<'f>(fields: &'f [Field], random: &mut Random) -> Option<&'f Field> {
    let mut fields = fields;
    loop {
        let field = fields.get(random.below(fields.len()))?;
        match &field.content {
            Content::Message(inner) if !inner.is_empty() && !random.once_in(4) => fields = inner,
            _ => return Some(field),
        }
    }
}

fn change(fields: &mut Vec<Field>, donor: Option<&Field>, random: &mut Random) {
    if fields.is_empty() {
        fields.extend(donor.cloned());
        return;
    }
    let (at, other) = (random.below(fields.len()), random.below(fields.len()));
    if let Content::Message(inner) = &mut fields[at].content
        && !random.once_in(4)
    {
        return change(inner, donor, random);
    }
    match random.below(8) {
        0 => drop(fields.remove(at)),
        1 => fields.insert(at, fields[other].clone()),
        2 => fields.swap(at, other),
        3 => fields.extend(donor.cloned()),
        4 => {
            let content = fields[other].content.clone();
            if fields[other].key & 7 == fields[at].key & 7 {
                fields[at].content = content;
            }
        }
        _ => changed_content(&mut fields[at].content, random),
    }
}

fn changed_content(content: &mut Content, random: &mut Random) {
    match content {
        Content::Number(number) => *number = random.nasty(*number, 64),
        Content::Fixed(bytes) => {
            let special = [f32::NAN, f32::INFINITY, -1.0, 0.0, 1e30, f32::MIN_POSITIVE];
            let new = random.one_of(&special).to_le_bytes();
            let width = bytes.len();
            bytes[width - 4..].copy_from_slice(&new);
        }
        Content::Bytes(bytes) => mutate::bytes(bytes, random),
        Content::Message(fields) => change(fields, None, random),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_as_it_was_read() {
        // 1: 300, 2: "text", 3: {1: 5, 4: fixed32}
        let inner = [8, 5, 0x25, 1, 2, 3, 4];
        let mut message = vec![8, 0xac, 2, 0x12, 4, b't', b'e', b'x', b't', 0x1a, 7];
        message.extend(inner);
        let fields = parse(&message, DEPTH).unwrap();
        assert!(matches!(fields[2].content, Content::Message(ref inner) if inner.len() == 2));
        let mut written = Vec::new();
        write(&fields, &mut written);
        assert_eq!(written, message);
    }

    #[test]
    fn any_bytes_can_be_mutated() {
        let mut random = Random(1);
        for len in 0..200 {
            let bytes: Vec<u8> = (0..len).map(|_| random.number() as u8).collect();
            let _ = mutate(&bytes, &bytes, &mut random);
        }
    }
}
