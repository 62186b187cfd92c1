//! Where the agent's files are. The root comes from the *real* path of the running binary: a root reached
//! through a symlink is the same root, and two agents that share one by symlink share one `.agent`.

use std::path::{Path, PathBuf};

/// Version told when the package carries none (a binary run straight from the build directory).
const UNPACKAGED: &str = "4.260.0";

/// The agent's directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    bin: PathBuf,
}

impl Layout {
    /// Two levels above the binary; after a self-update that is `bin.{version}`, still beneath the same root.
    pub(crate) fn of_this_process() -> std::io::Result<Self> {
        let exe = std::env::current_exe()?.canonicalize()?;
        let up = |path: &Path| path.parent().map(Path::to_path_buf);
        let bin = up(&exe).unwrap_or_else(|| PathBuf::from("/"));
        let root = up(&bin).unwrap_or_else(|| PathBuf::from("/"));
        Ok(Self { root, bin })
    }

    /// The layout beneath a known root.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf(), bin: root.join("bin") }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the running binary.
    pub(crate) fn bin(&self) -> &Path {
        &self.bin
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn worker(&self) -> PathBuf {
        self.bin.join("Agent.Worker")
    }

    /// Version of the package, written into it when it was built.
    pub(crate) fn version(&self) -> String {
        std::fs::read_to_string(self.bin.join("stub-version"))
            .map_or_else(|_| UNPACKAGED.to_owned(), |text| text.trim().to_owned())
    }

    /// Existence of `.agent` is what "configured" means, nothing else is looked at.
    pub(crate) fn is_configured(&self) -> bool {
        self.file(".agent").exists()
    }
}
