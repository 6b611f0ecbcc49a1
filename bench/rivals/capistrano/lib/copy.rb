require "capistrano/scm/plugin"

# Packs the release here and sends it over the connection that is there anyway. The server needs no git.
class Copy < Capistrano::SCM::Plugin
  def register_hooks
    after "deploy:new_release_path", "copy:create_release"
    before "deploy:set_current_revision", "copy:set_current_revision"
  end

  def define_tasks
    namespace :copy do
      task :create_release do
        packed = fetch(:packed)
        run_locally do
          execute :tar, "--create", "--gzip", "--file", packed,
                  "--directory", fetch(:source), "api", "root", "--directory", fetch(:wheels), "."
        end
        on release_roles(:all) do
          execute :mkdir, "-p", release_path
          upload! packed, "#{release_path}/packed"
          execute :tar, "-xzf", "#{release_path}/packed", "-C", release_path
        end
      end

      task :set_current_revision do
        set :current_revision, fetch(:version)
      end
    end
  end
end
