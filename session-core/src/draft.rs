//! What a request has written and not committed yet.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    body::Contents,
    clock::Millis,
    error::{SessionError, SessionErrorKind},
    label::Label,
    op::{self, Op, Ops},
};

/// Uncommitted changes, with the contents that they lead to.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    contents: Arc<Contents>,
    ops: Ops,
    login: Option<Login>,
}

/// Somebody has proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) principal: Arc<str>,
    pub(crate) at: Millis,
}

impl Draft {
    /// No changes yet.
    pub(crate) fn of(contents: Arc<Contents>) -> Self {
        Self {
            contents,
            ops: Ops::new(),
            login: None,
        }
    }

    pub(crate) fn contents(&self) -> &Arc<Contents> {
        &self.contents
    }

    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Whether a tag was set, perhaps to the value that it has. It may not be listed yet.
    pub(crate) fn sets_tag(&self) -> bool {
        let sets_tag = |op: &Op| matches!(op, Op::SetTag(_, Some(_)));
        self.ops.iter().any(sets_tag)
    }

    /// Whether this is a tag that was set.
    pub(crate) fn sets(&self, label: &Label) -> bool {
        match label {
            Label::Principal(_) => false,
            Label::Tag { name, .. } => self
                .ops
                .iter()
                .any(|op| matches!(op, Op::SetTag(set, Some(_)) if **set == **name)),
        }
    }

    /// Whether the application wrote anything. A write that changed nothing counts.
    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.login.is_none()
    }

    /// Applies one more operation. On an error nothing has changed.
    pub(crate) fn push(&mut self, op: Op, limit_bytes: usize) -> Result<(), SessionError> {
        let contents = Arc::make_mut(&mut self.contents);
        let undo = Undo::of(&op, contents);
        let before_bytes = size(contents);
        op.apply(contents)?;
        if let Err(error) = check_size(contents, limit_bytes, before_bytes) {
            undo.apply(contents);
            return Err(error);
        }
        op::append(&mut self.ops, op, contents);
        Ok(())
    }

    pub(crate) fn log_in(&mut self, login: Login) {
        Arc::make_mut(&mut self.contents).principal = Some((&*login.principal).into());
        self.login = Some(login);
    }

    /// Takes the login back; the other changes stay. `before` is who was logged in.
    pub(crate) fn forget_login(&mut self, before: Option<&str>) {
        if self.login.take().is_some() {
            Arc::make_mut(&mut self.contents).principal = before.map(Box::from);
        }
    }

    /// Applies the same changes to other contents.
    ///
    /// This calls functions of the application, so no lock may be held.
    pub(crate) fn rebase(&self, onto: &Contents, limit_bytes: usize) -> Result<Self, SessionError> {
        let mut contents = onto.clone();
        let before_bytes = size(&contents);
        self.ops.iter().try_for_each(|op| op.apply(&mut contents))?;
        if let Some(login) = &self.login {
            contents.principal = Some((&*login.principal).into());
        }
        check_size(&contents, limit_bytes, before_bytes)?;
        Ok(Self {
            contents: Arc::new(contents),
            ops: self.ops.clone(),
            login: self.login.clone(),
        })
    }
}

/// What an operation that makes the contents larger replaces.
enum Undo {
    Value(Arc<str>, Option<Bytes>),
    Tag(Arc<str>, Option<Box<str>>),
    /// It makes nothing larger.
    Nothing,
}

impl Undo {
    fn of(op: &Op, contents: &Contents) -> Self {
        match (op.name(), op) {
            (Some(name), _) => Self::Value(name.clone(), contents.data.get(name)),
            (None, Op::SetTag(name, _)) => {
                Self::Tag(name.clone(), contents.tag(name).map(Box::from))
            }
            (None, _) => Self::Nothing,
        }
    }

    fn apply(self, contents: &mut Contents) {
        match self {
            Self::Value(name, Some(value)) => contents.data.insert(&name, value),
            Self::Value(name, None) => drop(contents.data.remove(&name)),
            Self::Tag(name, value) => contents.set_tag(&name, value.as_deref()),
            Self::Nothing => {}
        }
    }
}

fn size(contents: &Contents) -> usize {
    let tags = contents.tags.iter();
    let tags: usize = tags.map(|tag| tag.name.len() + tag.value.len()).sum();
    contents.data.encoded_bytes() + tags
}

/// Contents beyond the limit may stay or shrink, so that lowering the limit locks nobody out of
/// their session.
fn check_size(
    contents: &Contents,
    limit_bytes: usize,
    before_bytes: usize,
) -> Result<(), SessionError> {
    let bytes = size(contents);
    if bytes <= limit_bytes.max(before_bytes) {
        return Ok(());
    }
    let detail = format!("session data would take {bytes} bytes; the limit is {limit_bytes}");
    Err(SessionError::new(SessionErrorKind::TooLarge, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Update;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    #[derive(Clone, Copy, Debug)]
    enum Write {
        Set(usize, u8),
        Remove(usize),
        Clear,
        Add(usize, u8),
    }

    fn write() -> impl Strategy<Value = Write> {
        let name = 0..NAMES.len();
        prop_oneof![
            (name.clone(), any::<u8>()).prop_map(|(name, value)| Write::Set(name, value)),
            name.clone().prop_map(Write::Remove),
            Just(Write::Clear),
            (name, any::<u8>()).prop_map(|(name, value)| Write::Add(name, value)),
        ]
    }

    fn sum(before: Option<&Bytes>, value: u8) -> u8 {
        before
            .map_or(0, |before| before[0])
            .wrapping_mul(3)
            .wrapping_add(value)
    }

    fn op(write: Write, contents: &Contents) -> Op {
        match write {
            Write::Set(name, value) => {
                Op::Set(NAMES[name].into(), Bytes::copy_from_slice(&[value]))
            }
            Write::Remove(name) => Op::Remove(NAMES[name].into()),
            Write::Clear => Op::Clear,
            Write::Add(name, value) => {
                let before = contents.data.get(NAMES[name]);
                let after = Bytes::copy_from_slice(&[sum(before.as_ref(), value)]);
                let step: op::UpdateFn =
                    Arc::new(move |before| Ok(Bytes::copy_from_slice(&[sum(before, value)])));
                Op::Update(Update::new(NAMES[name].into(), step, before, after))
            }
        }
    }

    fn model(start: &BTreeMap<usize, u8>, writes: &[Write]) -> BTreeMap<usize, u8> {
        let mut map = start.clone();
        for write in writes {
            match *write {
                Write::Set(name, value) => drop(map.insert(name, value)),
                Write::Remove(name) => drop(map.remove(&name)),
                Write::Clear => map.clear(),
                Write::Add(name, value) => {
                    let before = map
                        .get(&name)
                        .map(|before| Bytes::copy_from_slice(&[*before]));
                    map.insert(name, sum(before.as_ref(), value));
                }
            }
        }
        map
    }

    fn contents(map: &BTreeMap<usize, u8>) -> Contents {
        let mut contents = Contents::default();
        for (name, value) in map {
            contents
                .data
                .insert(NAMES[*name], Bytes::copy_from_slice(&[*value]));
        }
        contents
    }

    proptest! {
        #[test]
        fn coalesced_writes_do_to_any_record_what_each_write_would(
            start in prop::collection::btree_map(0..3usize, any::<u8>(), 0..3),
            other in prop::collection::btree_map(0..3usize, any::<u8>(), 0..3),
            third in prop::collection::btree_map(0..3usize, any::<u8>(), 0..3),
            writes in prop::collection::vec(write(), 0..12),
            split in any::<prop::sample::Index>(),
        ) {
            let split = split.index(writes.len() + 1);
            let mut draft = Draft::of(Arc::new(contents(&start)));
            for write in &writes[..split] {
                let op = op(*write, draft.contents());
                draft.push(op, usize::MAX).expect("no limit");
            }
            let mut draft = draft.rebase(&contents(&other), usize::MAX).expect("no limit");
            for write in &writes[split..] {
                let op = op(*write, draft.contents());
                draft.push(op, usize::MAX).expect("no limit");
            }
            prop_assert_eq!(&**draft.contents(), &contents(&model(&other, &writes)));
            let rebased = draft.rebase(&contents(&third), usize::MAX).expect("no limit");
            prop_assert_eq!(&**rebased.contents(), &contents(&model(&third, &writes)));
        }
    }

    #[test]
    fn repeated_writes_of_one_name_are_kept_once() {
        let mut draft = Draft::of(Arc::default());
        for value in 0..=255 {
            let set = op(Write::Set(0, value), draft.contents());
            draft.push(set, usize::MAX).expect("no limit");
            let add = op(Write::Add(0, value), draft.contents());
            draft.push(add, usize::MAX).expect("no limit");
        }
        assert_eq!(draft.ops.len(), 1);
    }

    #[test]
    fn data_beyond_a_lowered_limit_may_shrink_but_not_grow() {
        let mut large = Contents::default();
        large.data.insert("a", Bytes::from(vec![0; 100]));
        let mut draft = Draft::of(Arc::new(large));
        draft.log_in(Login {
            principal: "ann".into(),
            at: Millis(0),
        });
        let set = |len| Op::Set("a".into(), Bytes::from(vec![0; len]));
        draft.push(set(90), 50).expect("smaller");
        let error = draft.push(set(91), 50).expect_err("larger");
        assert_eq!(error.kind(), SessionErrorKind::TooLarge);
        assert_eq!(draft.contents().data.get("a").expect("kept").len(), 90);
    }
}
