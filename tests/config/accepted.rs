//! What is accepted, and what it means.

use std::time::Duration;

use capsd::config::{Config, LogFormat, LogLevel, Resolve, Resolver, SecretSource};

use crate::{LEAST, Machine};

/// Commands wait longer than this for an answer.
#[test]
fn the_longest_deadline_is_what_it_is_called() {
    let machine = Machine::new();
    let longest = Resolver::LONGEST_DEADLINE;
    let with = |deadline: Duration| {
        let millis = deadline.as_millis();
        machine.read(&format!("{LEAST}[resolver]\ndeadline = '{millis}ms'\n"))
    };
    assert_eq!(with(longest).unwrap().resolver.deadline, longest);
    assert!(with(longest + Duration::from_millis(1)).is_err());
}

/// The defaults of the contract, each typed here.
#[test]
fn one_component_is_enough_and_all_else_has_its_default() {
    let config = Machine::new().read(LEAST).unwrap();

    let [component] = &config.components[..] else {
        panic!("{:?}", config.components);
    };
    assert_eq!(component.name, "caps.example.org");
    assert_eq!(component.jid.as_str(), "caps.example.org");
    assert_eq!(component.server.to_string(), "127.0.0.1:5347");
    assert_eq!(component.secret.as_ref().unwrap().expose(), "s3cret");
    assert_eq!(component.domains, component.feeds);
    assert_eq!(component.domains.len(), 1);
    assert_eq!(component.domains[0].as_str(), "example.org");
    assert!(component.admins.is_empty());

    assert_eq!(config.store.path.to_str(), Some("/var/lib/capsd"));
    assert_eq!(config.store.flush_interval, Duration::from_secs(1));
    assert_eq!(config.store.max_entries, 1_000_000);
    assert_eq!(config.store.max_bytes, 2 * 1024 * 1024 * 1024);
    assert_eq!(config.store.cache, 16 * 1024 * 1024);
    assert_eq!(config.hot.max_bytes, 32 * 1024 * 1024);
    assert_eq!(config.trusted.directories.len(), 1);
    assert_eq!(
        config.trusted.directories[0].to_str(),
        Some("/usr/share/capsd/trusted")
    );
    assert_eq!(config.resolver.resolve, Resolve::OnAnnounce);
    assert_eq!(config.resolver.deadline, Duration::from_secs(5));
    assert_eq!(config.resolver.holder_timeout, Duration::from_secs(2));
    assert_eq!(config.resolver.retry_after, Duration::from_secs(600));
    assert_eq!(config.holders.max, 1_000_000);
    assert_eq!(config.holders.expire_after, Duration::from_secs(86_400));
    assert_eq!(config.holders.per_key, 64);
    assert_eq!(config.limits.flights, 4096);
    assert_eq!(config.limits.waiters, 65_536);
    assert_eq!(config.limits.waiters_per_flight, 16_384);
    assert_eq!(config.limits.queries_per_asker.burst().get(), 200);
    assert_eq!(
        config.limits.queries_per_asker.interval(),
        Duration::from_millis(20)
    );
    assert_eq!(
        config.limits.new_keys_per_domain.interval(),
        Duration::from_millis(5)
    );
    assert_eq!(
        config.limits.new_keys_per_account.interval(),
        Duration::from_secs(180)
    );
    assert_eq!(config.limits.new_keys_per_account.burst().get(), 20);
    assert_eq!(config.limits.max_disco_bytes, 16_384);
    assert_eq!(config.limits.max_features, 256);
    assert!(!config.limits.allow_md5);
    assert_eq!(config.population.features.len(), 16);
    assert_eq!(config.population.clients, 15);
    assert_eq!(config.population.kinds, 1024);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9116");
    assert!(config.http.names.is_empty());
    assert_eq!(
        config.control.socket.to_str(),
        Some("/run/capsd/control.sock")
    );
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.log.level, LogLevel::Info);
}

#[test]
fn sections_that_are_left_out_are_the_public_defaults() {
    let config = Machine::new().read(LEAST).unwrap();
    let expected = Config {
        components: config.components.clone(),
        store: Default::default(),
        hot: Default::default(),
        trusted: Default::default(),
        resolver: Default::default(),
        holders: Default::default(),
        limits: Default::default(),
        population: Default::default(),
        http: Default::default(),
        control: Default::default(),
        contact: Default::default(),
        log: Default::default(),
    };
    assert_eq!(config, expected);
}

#[test]
fn what_is_in_force_can_be_read_again() {
    let machine = Machine::new();
    let written = format!(
        "{LEAST}domains = ['a.example', 'b.example']\nfeeds = []\nadmins = ['Admin@Example.org']\n\
         [resolver]\nresolve = 'on-demand'\ndeadline = '1500ms'\nholder-timeout = '1s'\n\
         [limits]\nqueries-per-asker = '3/m'\nmax-disco-bytes = '5000B'\nallow-md5 = true\n\
         [http]\nlisten = '[::1]:0'\nnames = ['Caps.Example.org']\n[contact]\nabuse = ['mailto:abuse@example.org']\n[log]\nlevel = 'debug'\n"
    );
    let config = machine.read(&written).unwrap();
    assert_eq!(config.components[0].admins[0].as_str(), "admin@example.org");
    assert!(config.components[0].feeds.is_empty());
    assert_eq!(config.http.names, ["caps.example.org"]);
    assert_eq!(config.resolver.deadline, Duration::from_millis(1500));
    assert_eq!(config.limits.max_disco_bytes, 5000);
    assert!(config.limits.allow_md5);

    let in_force = config.to_toml().unwrap();
    assert!(!in_force.contains("s3cret"), "{in_force}");
    assert_eq!(machine.read(&in_force).unwrap(), config);
}

#[test]
fn the_secret_comes_from_file_variable_or_credential() {
    let without = "[[component]]\njid = 'caps.example.org'\nserver = 'localhost:5347'\n";

    let machine = Machine::new().with_variable("CAPSD_SECRET", "from the variable");
    let config = machine
        .read(&format!("{without}secret-env = 'CAPSD_SECRET'\n"))
        .unwrap();
    assert_eq!(
        config.components[0].secret.as_ref().unwrap().expose(),
        "from the variable"
    );
    let source = &config.components[0].secret_source;
    assert_eq!(*source, SecretSource::Variable("CAPSD_SECRET".to_owned()));
    assert_eq!(machine.read(&config.to_toml().unwrap()).unwrap(), config);

    let machine = Machine::new();
    let directory = machine.directory.path().to_owned();
    let machine = machine.with_variable("CREDENTIALS_DIRECTORY", directory);
    let config = machine.read(without).unwrap();
    assert_eq!(
        config.components[0].secret.as_ref().unwrap().expose(),
        "s3cret"
    );
    assert_eq!(config.components[0].secret_source, SecretSource::Credential);
    assert_eq!(machine.read(&config.to_toml().unwrap()).unwrap(), config);
}

#[test]
fn a_secret_is_in_no_debug_output() {
    let config = Machine::new().read(LEAST).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn links_that_share_a_jid_are_named_apart() {
    let second = LEAST.replace("127.0.0.1", "127.0.0.2");
    let third = LEAST.replace("caps.", "hashes.");
    let config = Machine::new()
        .read(&format!("{LEAST}{second}{third}"))
        .unwrap();
    let names: Vec<_> = config
        .components
        .iter()
        .map(|component| &component.name[..])
        .collect();
    let expected = [
        "caps.example.org at 127.0.0.1:5347",
        "caps.example.org at 127.0.0.2:5347",
        "hashes.example.org",
    ];
    assert_eq!(names, expected);
}

#[test]
fn jids_and_hosts_are_normalised() {
    let config = Machine::new()
        .read(&LEAST.replace("caps.example", "CAPS.Example"))
        .unwrap();
    assert_eq!(config.components[0].jid.as_str(), "caps.example.org");
}

#[test]
fn sixteen_components_are_accepted() {
    let blocks: String = (0..16)
        .map(|n| LEAST.replace("caps", &format!("caps{n}")))
        .collect();
    assert_eq!(Machine::new().read(&blocks).unwrap().components.len(), 16);
}
