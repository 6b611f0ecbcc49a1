# Deploys the site "hello". Environment: SOURCE (its folder), WHEELS (a folder), VERSION, PACKED (a path for the archive here).
set :application, "hello-capistrano"
set :deploy_to, "/srv/hello-capistrano"
set :keep_releases, 3
set :source, ENV.fetch("SOURCE")
set :wheels, ENV.fetch("WHEELS")
set :packed, ENV.fetch("PACKED")
set :version, ENV.fetch("VERSION")
set :port, 9002
set :format_options, log_file: nil

namespace :app do
  # Once for each server.
  task :set_up do
    on roles(:app) do
      app, folder = fetch(:application), fetch(:deploy_to)
      execute :adduser, "-D", "-H", "-s", "/sbin/nologin", app, raise_on_non_zero_exit: false
      execute :install, "-d", "-o", app, "#{folder}/data"
      service = <<~INIT
        #!/sbin/openrc-run
        supervisor=supervise-daemon
        command=#{folder}/venv/bin/gunicorn
        command_args="--bind 127.0.0.1:#{fetch(:port)} --workers 1 'hello_api.app:create_app()'"
        command_user=#{app}
        directory=#{folder}/current/api
      INIT
      upload! StringIO.new(service), "/etc/init.d/#{app}"
      execute :chmod, "755", "/etc/init.d/#{app}"
      execute :"rc-update", "add", app
    end
  end

  task :prepare do
    on roles(:app) do
      app, folder = fetch(:application), fetch(:deploy_to)
      execute :sed, "-i", "s/@VERSION@/#{fetch(:version)}/", "#{release_path}/root/index.html"
      execute :python3, "-m", "venv", "#{folder}/venv" unless test("[ -x #{folder}/venv/bin/pip ]")
      execute "#{folder}/venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-index",
              "--find-links", release_path, "-r", "#{release_path}/requirements.txt"
      environment = "export HELLO_VERSION=#{fetch(:version)}\nexport HELLO_DATA=#{folder}/data\n"
      upload! StringIO.new(environment), "/etc/conf.d/#{app}"
      nginx = <<~NGINX
        server {
          listen 8082;
          server_name hello.test;
          root #{folder}/current/root;
          location /api/ { proxy_pass http://127.0.0.1:#{fetch(:port)}; }
        }
      NGINX
      upload! StringIO.new(nginx), "/etc/rivals/sites/#{app}.conf"
      execute :nginx, "-t", "-c", "/etc/rivals/nginx.conf"
    end
  end

  task :restart do
    on roles(:app) do
      execute :"rc-service", fetch(:application), "restart"
      execute :"rc-service", "rivals-nginx", "reload"
      execute "for try in $(seq 100); do curl -fso /dev/null http://127.0.0.1:#{fetch(:port)}/api/ && exit; sleep 0.1; done; exit 1"
    end
  end
end

after "deploy:updated", "app:prepare"
after "deploy:published", "app:restart"
