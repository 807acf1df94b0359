//! Who else may do what with an object: S3's access lists, told by a request of their own and given by headers of a write.

use std::collections::BTreeSet;

use http::Method;

use super::S3Store;
use super::client::Call;
use crate::attributes::{AttributeKind, Attributes, Grant, Grantee, Permission};
use crate::error::{Result, StoreError};
use crate::key::Key;
use crate::limits::MAX_ANSWER_BYTES;
use crate::store::transport::xml;

/// S3's words and the headers that give them; that of writing means nothing for an object.
const PERMISSIONS: [(&str, Permission, &str); 4] = [
    ("READ", Permission::Read, "x-amz-grant-read"),
    ("READ_ACP", Permission::ReadGrants, "x-amz-grant-read-acp"),
    ("WRITE_ACP", Permission::WriteGrants, "x-amz-grant-write-acp"),
    ("FULL_CONTROL", Permission::All, "x-amz-grant-full-control"),
];

const EVERYBODY: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const EVERY_USER: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";

/// An access list.
struct AccessList {
    owner: Option<String>,
    /// What is granted to others than the owner.
    others: BTreeSet<Grant>,
}

impl S3Store {
    /// What the owner granted to others.
    pub(super) async fn grants(&self, key: &Key) -> Result<BTreeSet<Grant>> {
        let full = self.full_key_of_source(key).await?;
        let call = Call::object(Method::GET, "read the access list of", key, full).with("acl", "");
        let document = self.client.fetch(&call, MAX_ANSWER_BYTES).await?;
        parse(&document).map(|list| list.others).map_err(|reason| self.client.nonsense(&call, reason))
    }

    /// The same, or none where it is not for this user to know or the server has none.
    pub(super) async fn grants_if_told(&self, key: &Key) -> Result<BTreeSet<Grant>> {
        if !self.capabilities.holds.has(AttributeKind::Grants) {
            return Ok(BTreeSet::new());
        }
        match self.grants(key).await {
            Err(StoreError::Refused { .. } | StoreError::Unsupported { .. } | StoreError::Invalid { .. }) => {
                Ok(BTreeSet::new())
            }
            grants => grants,
        }
    }

    /// Gives what is written these grants. Where they have a name, that gives its owner all, too; else the owner, who is
    /// taken to be the bucket's, is told among them.
    pub(super) async fn set_grants(&self, call: &mut Call<'_>, attributes: &Attributes) -> Result<()> {
        let grants = &attributes.grants;
        if !self.capabilities.holds.has(AttributeKind::Grants) || grants.is_empty() {
            return Ok(());
        }
        if let Some(name) = name_of(grants) {
            return call.set("x-amz-acl", name);
        }
        let owner = self.owner.get_or_try_init(|| self.bucket_owner()).await?;
        let owner = owner.iter().map(|owner| (Permission::All, grantee_word(&Grantee::User(owner.clone()))));
        let all: Vec<_> =
            owner.chain(grants.iter().map(|grant| (grant.permission, grantee_word(&grant.grantee)))).collect();
        for (_, permission, header) in PERMISSIONS {
            let words: Vec<_> =
                all.iter().filter(|(given, _)| *given == permission).map(|(_, word)| word.as_str()).collect();
            if !words.is_empty() {
                call.set(header, &words.join(", "))?;
            }
        }
        Ok(())
    }

    async fn bucket_owner(&self) -> Result<Option<String>> {
        let call = Call::bucket(Method::GET, "read the access list of the bucket").with("acl", "");
        let document = self.client.fetch(&call, MAX_ANSWER_BYTES).await?;
        parse(&document).map(|list| list.owner).map_err(|reason| self.client.nonsense(&call, reason))
    }
}

/// The grants that have a name of their own.
fn name_of(grants: &BTreeSet<Grant>) -> Option<&'static str> {
    let only = grants.first().filter(|grant| grants.len() == 1 && grant.permission == Permission::Read)?;
    match &only.grantee {
        Grantee::Group(uri) if uri == EVERYBODY => Some("public-read"),
        Grantee::Group(uri) if uri == EVERY_USER => Some("authenticated-read"),
        _ => None,
    }
}

fn grantee_word(grantee: &Grantee) -> String {
    match grantee {
        Grantee::Group(uri) => format!("uri=\"{uri}\""),
        Grantee::User(id) => format!("id=\"{id}\""),
    }
}

fn parse(document: &[u8]) -> std::result::Result<AccessList, String> {
    let (mut owner, mut grantee, mut others) = (None, None, BTreeSet::new());
    xml::leaves(document, "AccessControlPolicy", |parent, element, text| {
        match (parent, element) {
            ("Owner", "ID") => owner = Some(checked(text)?),
            ("Grantee", "ID") => grantee = Some(Grantee::User(checked(text)?)),
            ("Grantee", "URI") => grantee = Some(Grantee::Group(checked(text)?)),
            ("Grant", "Permission") => {
                let known = PERMISSIONS.iter().find(|(word, ..)| *word == text);
                if let (Some(grantee), Some((_, permission, _))) = (grantee.take(), known) {
                    others.insert(Grant { grantee, permission: *permission });
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    others.retain(|grant| !matches!((&grant.grantee, &owner), (Grantee::User(user), Some(owner)) if user == owner));
    Ok(AccessList { owner, others })
}

/// A name that can be repeated in a header.
fn checked(text: &str) -> std::result::Result<String, String> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    is_plain.then(|| text.to_owned()).ok_or_else(|| "it has a grantee without a name that can be one".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(grants: &str) -> String {
        format!(
            "<AccessControlPolicy><Owner><ID>me</ID></Owner><AccessControlList>{grants}</AccessControlList>\
             </AccessControlPolicy>"
        )
    }

    fn grant(element: &str, name: &str, permission: &str) -> String {
        format!("<Grant><Grantee><{element}>{name}</{element}></Grantee><Permission>{permission}</Permission></Grant>")
    }

    #[test]
    fn what_others_may_do_is_read() {
        let all = [
            grant("ID", "me", "FULL_CONTROL"),
            grant("URI", EVERYBODY, "READ"),
            grant("ID", "other", "WRITE_ACP"),
            grant("ID", "other", "SOMETHING_NEW"),
        ];
        let list = parse(policy(&all.concat()).as_bytes()).unwrap();
        assert_eq!((list.owner.as_deref(), name_of(&list.others)), (Some("me"), None));
        let grants: Vec<_> = list.others.into_iter().collect();
        let expected = [
            Grant { grantee: Grantee::Group(EVERYBODY.to_owned()), permission: Permission::Read },
            Grant { grantee: Grantee::User("other".to_owned()), permission: Permission::WriteGrants },
        ];
        assert_eq!(grants, expected);
        assert_eq!(name_of(&BTreeSet::from([grants[0].clone()])), Some("public-read"));
        assert_eq!(grantee_word(&grants[0].grantee), format!("uri=\"{EVERYBODY}\""));
    }

    #[test]
    fn a_name_that_would_end_its_header_is_nonsense() {
        assert!(parse(policy(&grant("ID", "a\", uri=\"b", "READ")).as_bytes()).is_err());
        assert!(parse(b"<Other/>").is_err());
    }
}
