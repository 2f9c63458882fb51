"""Prosody and ejabberd as a crowd needs them: rooms, PEP, WebSockets, and rosters that are there before anybody logs in."""

from harness.processes import free_ports
from harness.servers import DOMAIN, Ejabberd, Prosody


class CrowdProsody(Prosody):
    """Prosody with what a crowd needs."""

    modules = (*Prosody.modules, "carbons", "websocket")
    log_level = "info"
    global_settings = "consider_websocket_secure = true\ncross_domain_websocket = true\nmuc_room_locking = false\n"

    def __init__(self, directory, **options):
        (self.http_port,) = free_ports(1)
        super().__init__(directory, **{"own_caps": True, "services": True} | options)

    def prepare(self):
        process = super().prepare()
        config = self.directory / "prosody.cfg.lua"
        http = f'http_ports = {{ {self.http_port} }}\nhttp_interfaces = {{ "127.0.0.1" }}\nhttp_default_host = "{DOMAIN}"'
        config.write_text(config.read_text().replace("http_ports = {}", http))
        return process

    def befriend(self, names):
        """Subscribes these accounts to each other; nobody of them may be online."""
        directory = self.directory / "data" / DOMAIN.replace(".", "%2e") / "roster"
        directory.mkdir(parents=True, exist_ok=True)
        for name in names:
            items = "".join(f'\t["{other}@{DOMAIN}"] = {{ subscription = "both"; groups = {{}}; }};\n' for other in names if other != name)
            (directory / f"{name}.dat").write_text(f"return {{\n\t[false] = {{ version = 1; pending = {{}}; }};\n{items}}};\n")


class CrowdEjabberd(Ejabberd):
    """ejabberd with what a crowd needs; WebSockets are served where its commands are."""

    def __init__(self, directory, **options):
        super().__init__(directory, **{"own_caps": True, "services": True} | options)

    @property
    def http_port(self):
        """Where WebSockets are served."""
        return self.command_port

    def write_config(self):
        super().write_config()
        text = self.config.read_text().replace("{ /api: mod_http_api }", "{ /api: mod_http_api, /xmpp-websocket: ejabberd_http_ws }")
        self.config.write_text(text.replace("\nmodules:\n", "\nmodules:\n  mod_admin_extra: {}\n  mod_carboncopy: {}\n"))

    def befriend(self, names):
        """Subscribes all accounts of the domain to each other."""
        self.command("push_alltoall", host=DOMAIN, group="Friends")


CROWD_KINDS = {"prosody": CrowdProsody, "ejabberd": CrowdEjabberd}
