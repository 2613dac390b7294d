"""The application in the executable that this process was started from: `./myapp` serves it."""

import os

from . import archive, config
from .errors import ConfigError, HeartError
from .frozen import HEART


class Application:
    """What is bundled: `name` of the executable, `archive`, `script`, `flags`."""

    def __init__(self, path, fd=None):
        """`fd` as Archive takes it. Raises HeartError if the executable is damaged."""
        self.name = os.path.basename(path)
        self.archive = archive.Archive(path, fd)
        self.script = self.archive.manifest.script
        self.flags = self.archive.manifest.flags

    def settings(self, arguments):
        """The settings for these words: flags over the environment, over the bundled flags, over the defaults."""
        settings = config.new_settings()
        try:
            config.read_arguments(settings, self.flags)
        except ConfigError as error:
            raise HeartError(f"{self.name}: the flags in this file are not for this heart: {error}") from None
        config.read_environment(settings)
        words = config.read_arguments(settings, arguments, f"{self.name} --help")
        if words:
            raise ConfigError(
                f"{words[0]}: {self.name} takes flags only: it serves the {self.script} that is inside "
                f"({self.name} {HEART} serve {words[0]} would serve another)"
            )
        refuse_watch(settings)
        settings.script, settings.archive = self.script, self.archive
        config.complete(settings)
        return settings

    def help(self):
        """The paragraphs that `--help` begins with."""
        import shlex

        files = self.archive.entries
        size = archive.size_text(sum(entry.size for entry in files))
        made = f"bundled with Heart {self.archive.manifest.version}"
        yield f"Serves {self.script}, the application in this file ({archive.count_text(len(files))}, {size}, {made})."
        if self.flags:
            yield f"Unless flags or the environment say otherwise, it is served with {shlex.join(self.flags)}"
        yield f"{self.name} {HEART} is the heart command that is inside, too: {self.name} {HEART} --help"


def refuse_watch(settings):
    """What is in the executable does not change."""
    if settings.watch:
        raise ConfigError("--watch: a bundled application does not change; watch its files with heart serve --watch")


def check_flags(flags):
    """Refuse, by a ConfigError, flags that an application can not be bundled with."""
    settings = config.new_settings()
    words = config.read_arguments(settings, flags)
    if words:
        raise ConfigError(f"{words[0]}: expected only flags of heart serve behind --, for example -- --port 80")
    refuse_watch(settings)
