//! What a job found: the work folder before its first step, the environment it would show to its steps. The
//! simulator keeps it with the job, so that a test can see dirt of an earlier job or a leaked secret's name.

use std::path::Path;

use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;

use super::Work;
use crate::api::{Api, Auth, Call};
use crate::layout::Layout;

/// More paths than this are not listed; the folder is dirty enough by then.
const MOST: usize = 1_000;

/// Sends the record. A server without this extension refuses; that is logged and no reason to stop the job.
pub(crate) async fn send(layout: &Layout, work: &Work) {
    let order = &work.order;
    let names: std::collections::BTreeSet<&String> =
        work.environment.iter().map(|(name, _)| name).collect();
    let body = json!({
        "workFolder": list(&order.work),
        "env": names,
        "agent": order.agent,
        "pid": std::process::id(),
        "version": layout.version(),
    });
    let path = format!("_sim/jobs/{}/record", order.job.request_id);
    let token = SecretString::from(order.token.clone());
    let sent = async {
        let api = Api::new(&order.base, &work.settings)?;
        api.send(&Call::new(Method::POST, path).body(body), &Auth::Bearer(&token)).await?;
        anyhow::Ok(())
    };
    if let Err(error) = sent.await {
        work.diag.log(&format!("Job record was not taken: {error:#}"));
    }
}

/// Paths below `folder`, relative to it, folders before what is in them.
fn list(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            if found.len() == MOST {
                return found;
            }
            let path = entry.path();
            found.push(path.strip_prefix(folder).unwrap_or(&path).display().to_string());
            // A symlink is dirt like anything else, but it is not followed.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_listing_goes_into_folders_and_not_through_symlinks() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("1/s")).expect("folders");
        std::fs::write(dir.path().join("1/s/file"), "x").expect("a file");
        std::os::unix::fs::symlink("/", dir.path().join("root")).expect("a symlink");
        assert_eq!(super::list(dir.path()), ["1", "1/s", "1/s/file", "root"]);
        assert!(super::list(&dir.path().join("absent")).is_empty());
    }
}
