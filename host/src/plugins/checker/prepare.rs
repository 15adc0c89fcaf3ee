//! Makes a plugin of the bytes of a version: its settings read, its folders looked at, its program compiled and asked what it is.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::runtime::Builder;

use super::{Checker, Silent};
use crate::job::Kind;
use crate::plugins::kept::Version;
use crate::plugins::schema::Schema;
use crate::plugins::{KindSettings, Plugin};
use crate::sandbox::{Absence, Description, Folder, FolderGrant, Grants, Limits, NewUpload, Shape, find_absent};

impl Checker {
    /// Reads the settings, and has the program compiled and asked what it is. Names what does not answer. `compiled` hears how long the
    /// compiler took.
    pub(in crate::plugins) fn prepare(
        &self,
        kind: Kind,
        version: &Version,
        digest: &str,
        silent: &mut Silent,
        compiled: &dyn Fn(Duration),
    ) -> Result<Arc<Plugin>, String> {
        let wrong = |error| format!("{kind}.toml: {error}");
        let settings = self.parse(&kind, &version.toml)?;
        let mut grants = self.grants(&settings, &kind, silent).map_err(wrong)?;
        if let Some(toml) = &self.toml {
            grants.settings_file = toml.display().to_string();
        }
        self.look_at_folders(&settings, &grants, silent).map_err(wrong)?;
        let blobs = self.blobs.clone();
        let new_upload: NewUpload = Arc::new(move || blobs.upload());
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| format!("the host could not check this file: {error}"))?;
        let loaded = runtime.block_on(self.sandbox.load(&version.wasm, digest, new_upload, compiled));
        let (program, mut description) = loaded.map_err(|error| error.0)?;
        match program.shape() {
            Shape::JobComponent => settings.check_no_command().map_err(wrong)?,
            Shape::CommandComponent | Shape::CommandModule => {
                description.output_media_type = settings.media_type.clone().unwrap_or(description.output_media_type);
            }
        }
        let schema = |text: &Option<String>, whose: &str| {
            text.as_deref()
                .map(Schema::parse)
                .transpose()
                .map_err(|error| format!("its {whose} schema is wrong: {error}"))
        };
        Ok(Arc::new(Plugin {
            input_schema: schema(&description.input_schema, "input")?,
            parameter_schema: schema(&description.parameter_schema, "parameter")?,
            output_schema: schema(&description.output_schema, "output")?.map(|schema| schema.source),
            limits: self.limits(&settings, &description),
            fuel_per_ms: settings.fuel_per_ms.unwrap_or(self.settings.fuel_per_ms),
            timeout_max: settings.timeout_max.map_or(self.settings.limits_max.timeout, |span| span.0),
            kind,
            digest: digest.to_owned(),
            settings,
            grants: RwLock::new(Arc::new(grants)),
            program,
            description,
        }))
    }

    pub(super) fn parse(&self, kind: &Kind, toml: &str) -> Result<KindSettings, String> {
        KindSettings::parse(toml, &self.settings.limits_max).map_err(|error| format!("{kind}.toml: {error}"))
    }

    /// What the guests of a kind may reach, with its secrets read.
    pub(super) fn grants(&self, settings: &KindSettings, kind: &Kind, silent: &mut Silent) -> Result<Grants, String> {
        settings.grants(kind, &self.settings.folder, |source| self.read_secret(source, silent))
    }

    /// Looks whether the folders are there that are granted. Of one that does not answer it takes note.
    fn look_at_folders(&self, settings: &KindSettings, grants: &Grants, silent: &mut Silent) -> Result<(), String> {
        let at = |grant: &FolderGrant| self.sandbox.folders().at(&grant.host);
        let folders: Vec<Arc<Folder>> = grants.folders.iter().map(at).collect();
        // Before they are looked at: what returns meanwhile is not to be missed.
        let returned: Vec<u64> = folders.iter().map(|folder| folder.returned()).collect();
        find_absent(&folders).map_err(|(number, absence)| {
            if absence == Absence::Silent {
                silent.push((Arc::clone(&folders[number]), returned[number]));
            }
            settings.absence(number, absence)
        })
    }

    /// What the operator says, else what the plugin wishes, else the default; all within what the host allows.
    fn limits(&self, set: &KindSettings, wished: &Description) -> Limits {
        let (default, most) = (self.settings.limits, self.settings.limits_max);
        let timeout = set.timeout.map(|span| span.0).or(wished.timeout).unwrap_or(default.timeout);
        let memory_bytes = set.memory_bytes.or(wished.memory_bytes).unwrap_or(default.memory_bytes);
        let output_bytes = set.output_bytes.or(wished.output_bytes).unwrap_or(default.output_bytes);
        Limits {
            timeout: timeout.min(set.timeout_max.map_or(most.timeout, |span| span.0)),
            fuel: default.fuel,
            memory_bytes: memory_bytes.min(most.memory_bytes),
            output_bytes: output_bytes.min(most.output_bytes),
        }
    }
}
