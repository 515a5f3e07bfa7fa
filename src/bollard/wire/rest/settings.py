"""The controller's properties, version and configuration on the public API."""

import msgspec

from bollard.wire.rest.bodies import Body, PropsModify

REST_API_VERSION = "1.28.0"
"""The version of LINSTOR's REST API that is served; clients refuse what is older than they need."""


class ControllerPropsModify(PropsModify, frozen=True, kw_only=True):
    """Of a request to change the controller's properties."""


class LogBody(Body, frozen=True, kw_only=True):
    """The part of a configuration that can be changed while the controller runs."""

    print_stack_trace: bool | None = None
    directory: str | None = None
    level: str | None = None
    level_global: str | None = None
    level_linstor: str | None = None
    level_linstor_global: str | None = None
    rest_access_log_path: str | None = None
    rest_access_mode: str | None = None


class ConfigBody(Body, frozen=True, kw_only=True):
    """Of a request to change a configuration; only the log level is used."""

    log: LogBody | None = None


class VersionView(msgspec.Struct, frozen=True, omit_defaults=True):
    """The version of the controller as clients see it."""

    version: str
    git_hash: str
    build_time: str
    rest_api_version: str
    product: str = ""
    """Ours: the name and version of what really answers."""


class ConfigDir(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the configuration is."""

    dir: str = ""


class ConfigDebug(msgspec.Struct, frozen=True):
    """There is no debug console."""

    console_enabled: bool = False


class ConfigLog(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where and how much is logged."""

    print_stack_trace: bool
    level: str
    directory: str = ""


class ConfigDb(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where records are kept; never a password."""

    connection_url: str
    version_check_disabled: bool


class ConfigHttp(msgspec.Struct, frozen=True, omit_defaults=True):
    """A door of the API."""

    enabled: bool
    port: int
    listen_address: str = ""


class ConfigLdap(msgspec.Struct, frozen=True):
    """There is no LDAP."""

    enabled: bool = False
    public_access_allowed: bool = False


class ConfigView(msgspec.Struct, frozen=True, omit_defaults=True):
    """The controller's configuration as clients see it, without secrets."""

    config: ConfigDir
    debug: ConfigDebug
    log: ConfigLog
    db: ConfigDb
    http: ConfigHttp
    https: ConfigHttp
    ldap: ConfigLdap
