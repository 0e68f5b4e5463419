//! Which rows a request will want first, found out without running it.

use super::node::Node;
use super::table::Entry;
use crate::encoding::Family;
use crate::encoding::row::{Position, head_row};
use crate::keyspace::ColdRow;
use crate::resp::Args;
use crate::session::Session;

/// The head rows of a command's keys that are not in the hot tier, added to `rows` as long as there is room for `rows_max`.
pub fn missing_heads(
    node: &Node,
    session: &Session,
    entry: &Entry,
    args: Args<'_>,
    rows: &mut Vec<ColdRow>,
    rows_max: usize,
) {
    let databases = node.keyspace.databases();
    let Some(database) = databases.get(session.database as usize) else { return };
    for key in entry.spec.lock_keys(args) {
        if rows.len() >= rows_max {
            return;
        }
        let name = args.at(key.index as usize);
        let position = Position::of_key(node.keyspace.seed(), name);
        let row = head_row(database.namespace(), position, name);
        if !node.keyspace.is_hot(Family::Keys, &row) && !rows.iter().any(|other| other.row == row) {
            rows.push(ColdRow { family: Family::Keys, row });
        }
    }
}
