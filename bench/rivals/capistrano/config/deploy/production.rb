# Environment: ADDRESS of the server, KEY and KNOWN_HOSTS: paths.
server ENV.fetch("ADDRESS"),
       user: "root", roles: %w[app],
       ssh_options: {
         port: 2222, keys: [ENV.fetch("KEY")], keys_only: true, auth_methods: ["publickey"], config: false,
         user_known_hosts_file: ENV.fetch("KNOWN_HOSTS"), verify_host_key: :always,
       }
