//! Between the host and files of this machine: results and artifacts saved as they stream in.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

use reqwest::{Method, Response};
use tempfile::NamedTempFile;

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
        let mut file = NewFile::create(path)?;
        self.copy(response, &mut file, || format!("write {}", path.display()), progress).await?;
        file.keep()
    }

    /// Saves every artifact of a job in a folder, and answers the files.
    pub async fn save_artifacts(
        &self,
        id: &str,
        folder: &Path,
        mut progress: impl FnMut(&str, u64),
    ) -> Result<Vec<PathBuf>, ClientError> {
        make_folder(folder)?;
        let list = self.text(self.request(Method::GET, &["v1", "jobs", id, "artifacts"])).await?;
        let mut files = Vec::new();
        for artifact in self.parse::<Artifacts>(&list)?.artifacts {
            let path = path_in(folder, &artifact.name)?;
            let request = self.request(Method::GET, &["v1", "jobs", id, "artifacts", &artifact.name]);
            self.save(self.send(request).await?, &path, |bytes| progress(&artifact.name, bytes)).await?;
            files.push(path);
        }
        Ok(files)
    }
}

/// Where an artifact of this name belongs in a folder, which is made. A name from elsewhere must not lead out of it.
pub fn path_in(folder: &Path, name: &str) -> Result<PathBuf, ClientError> {
    let relative = Path::new(name);
    if name.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        let error = std::io::Error::new(ErrorKind::InvalidInput, "this is no file name");
        return Err(ClientError::File(format!("save the artifact {name:?}"), error));
    }
    let path = folder.join(relative);
    make_folder(path.parent().unwrap_or(folder))?;
    Ok(path)
}

fn make_folder(folder: &Path) -> Result<(), ClientError> {
    std::fs::create_dir_all(folder)
        .map_err(|error| ClientError::File(format!("make the folder {}", folder.display()), error))
}

/// Whether a file can be written here, before there is anything to write. Nothing is made or changed.
pub fn check_file(path: &Path) -> Result<(), ClientError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(cannot_write(path, std::io::Error::new(ErrorKind::IsADirectory, "it is a folder; name a file in it")))
        }
        // To open a pipe is to wait for its reader.
        Ok(found) if !found.is_file() => Ok(()),
        _ => check_can_make_files(folder_of(path)).map_err(|error| cannot_write(path, error)),
    }
}

/// The same for files in a folder that may still have to be made.
pub fn check_folder(folder: &Path) -> Result<(), ClientError> {
    let cannot = |error| ClientError::File(format!("save files in the folder {}", folder.display()), error);
    let mut nearest = folder;
    loop {
        match std::fs::metadata(nearest) {
            Ok(found) if found.is_dir() => return check_can_make_files(nearest).map_err(cannot),
            Ok(_) => {
                let what = format!("{} is a file", nearest.display());
                return Err(cannot(std::io::Error::new(ErrorKind::NotADirectory, what)));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => match nearest.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => nearest = parent,
                Some(_) => nearest = Path::new("."),
                None => return Err(cannot(error)),
            },
            Err(error) => return Err(cannot(error)),
        }
    }
}

fn check_can_make_files(folder: &Path) -> std::io::Result<()> {
    // One without a name, which is gone again at once.
    tempfile::tempfile_in(folder).map(drop)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file in the making. What was there before stays until the new one is whole.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    file: Making,
}

#[derive(Debug)]
enum Making {
    /// Beside the place where it goes; removed when dropped.
    Beside(NamedTempFile),
    /// A pipe, a terminal or another device is written to and never replaced.
    Device(File),
}

impl NewFile {
    /// Begins a file.
    pub fn create(path: &Path) -> Result<Self, ClientError> {
        let begin = || {
            if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
                return File::options().write(true).open(path).map(Making::Device);
            }
            NamedTempFile::new_in(folder_of(path)).map(Making::Beside)
        };
        let file = begin().map_err(|error| cannot_write(path, error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Puts it in its place.
    pub fn keep(self) -> Result<(), ClientError> {
        let Making::Beside(file) = self.file else { return Ok(()) };
        let kept = file.persist(&self.path).map_err(|error| error.error);
        kept.and_then(|file| make_ordinary(&file)).map_err(|error| cannot_write(&self.path, error))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.file {
            Making::Beside(file) => file.write(bytes),
            Making::Device(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut self.file {
            Making::Beside(file) => file.flush(),
            Making::Device(file) => file.flush(),
        }
    }
}

fn cannot_write(path: &Path, error: std::io::Error) -> ClientError {
    ClientError::File(format!("write {}", path.display()), error)
}

/// Temporary files can be read by their owner alone; what is saved follows the user's own rule.
fn make_ordinary(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    file.set_permissions(std::fs::Permissions::from_mode(0o666 & !mask.bits()))
}
