//! Between the host and files of this machine: results and artifacts saved as they stream in.

use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use reqwest::{Method, Response};

use super::view::Artifacts;
use super::{Client, ClientError};

impl Client {
    /// Writes a body to a writer piece by piece, so that its size does not matter. `what` is for the error.
    pub async fn copy(
        &self,
        mut response: Response,
        mut to: impl Write,
        what: impl Fn() -> String,
        mut progress: impl FnMut(u64),
    ) -> Result<(), ClientError> {
        while let Some(chunk) = self.chunk(&mut response).await? {
            to.write_all(&chunk).map_err(|error| ClientError::File(what(), error))?;
            progress(chunk.len() as u64);
        }
        to.flush().map_err(|error| ClientError::File(what(), error))
    }

    /// Saves a body as a file. A file that was there is replaced once all bytes are here.
    pub async fn save(&self, response: Response, path: &Path, progress: impl FnMut(u64)) -> Result<(), ClientError> {
        let what = || format!("write {}", path.display());
        let failed = |error| ClientError::File(what(), error);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        self.copy(response, file.as_file(), what, progress).await?;
        let file = file.persist(path).map_err(|error| failed(error.error))?;
        make_ordinary(&file).map_err(failed)
    }

    /// Saves every artifact of a job in a folder, and answers the files.
    pub async fn save_artifacts(
        &self,
        id: &str,
        folder: &Path,
        mut progress: impl FnMut(&str, u64),
    ) -> Result<Vec<PathBuf>, ClientError> {
        std::fs::create_dir_all(folder)
            .map_err(|error| ClientError::File(format!("make the folder {}", folder.display()), error))?;
        let list = self.text(self.request(Method::GET, &["v1", "jobs", id, "artifacts"])).await?;
        let mut files = Vec::new();
        for artifact in self.parse::<Artifacts>(&list)?.artifacts {
            let path = folder.join(self.checked(&artifact.name)?);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .map_err(|error| ClientError::File(format!("make the folder {}", folder.display()), error))?;
            }
            let request = self.request(Method::GET, &["v1", "jobs", id, "artifacts", &artifact.name]);
            self.save(self.send(request).await?, &path, |bytes| progress(&artifact.name, bytes)).await?;
            files.push(path);
        }
        Ok(files)
    }

    /// A name from elsewhere must not lead out of the folder.
    fn checked<'a>(&self, name: &'a str) -> Result<&'a Path, ClientError> {
        let path = Path::new(name);
        if !name.is_empty() && path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Ok(path);
        }
        Err(ClientError::NotUnderstood(self.url().to_owned(), format!("the artifact name {name:?} is no file name")))
    }
}

/// Temporary files can be read by their owner alone; what is saved follows the user's own rule.
fn make_ordinary(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    file.set_permissions(std::fs::Permissions::from_mode(0o666 & !mask.bits()))
}
