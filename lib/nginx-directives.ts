/** Directives of a server, location or if that can hold any words: what they do stays within the site. */
export const plainDirectives: ReadonlySet<string> = new Set(
  `absolute_redirect add_header add_trailer aio allow auth_basic auth_delay autoindex autoindex_exact_size autoindex_format
  autoindex_localtime break charset charset_types chunked_transfer_encoding client_body_buffer_size client_body_timeout
  client_header_buffer_size client_header_timeout client_max_body_size default_type deny directio empty_gif etag expires
  gunzip gzip gzip_buffers gzip_comp_level gzip_disable gzip_http_version gzip_min_length gzip_proxied gzip_static gzip_types
  gzip_vary if_modified_since ignore_invalid_headers internal keepalive_disable keepalive_requests keepalive_time
  keepalive_timeout large_client_header_buffers limit_conn_dry_run limit_conn_log_level limit_conn_status limit_rate
  limit_rate_after limit_req_dry_run limit_req_log_level limit_req_status lingering_close lingering_time lingering_timeout
  log_not_found log_subrequest max_ranges mirror_request_body msie_padding msie_refresh open_file_cache open_file_cache_errors
  open_file_cache_min_uses open_file_cache_valid output_buffers override_charset port_in_redirect postpone_output
  proxy_buffer_size proxy_buffering proxy_buffers proxy_busy_buffers_size proxy_cache_background_update proxy_cache_bypass
  proxy_cache_convert_head proxy_cache_key proxy_cache_lock proxy_cache_lock_age proxy_cache_lock_timeout
  proxy_cache_max_range_offset proxy_cache_methods proxy_cache_min_uses proxy_cache_revalidate proxy_cache_use_stale
  proxy_cache_valid proxy_connect_timeout proxy_cookie_domain proxy_cookie_flags proxy_cookie_path proxy_force_ranges
  proxy_headers_hash_bucket_size proxy_headers_hash_max_size proxy_hide_header proxy_http_version proxy_ignore_client_abort
  proxy_ignore_headers proxy_intercept_errors proxy_limit_rate proxy_max_temp_file_size proxy_method proxy_next_upstream
  proxy_next_upstream_timeout proxy_next_upstream_tries proxy_no_cache proxy_pass_header proxy_pass_request_body
  proxy_pass_request_headers proxy_read_timeout proxy_redirect proxy_request_buffering proxy_send_lowat proxy_send_timeout
  proxy_set_body proxy_set_header proxy_socket_keepalive proxy_ssl_name proxy_ssl_protocols proxy_ssl_server_name
  proxy_ssl_session_reuse proxy_ssl_verify proxy_ssl_verify_depth proxy_temp_file_write_size read_ahead real_ip_header
  real_ip_recursive recursive_error_pages referer_hash_bucket_size referer_hash_max_size reset_timedout_connection return
  rewrite_log satisfy secure_link secure_link_md5 secure_link_secret send_lowat send_timeout sendfile sendfile_max_chunk
  server_name_in_redirect server_tokens set set_real_ip_from slice source_charset ssi ssi_last_modified ssi_min_file_chunk
  ssi_silent_errors ssi_types ssi_value_length sub_filter sub_filter_last_modified sub_filter_once sub_filter_types
  subrequest_output_buffer_size tcp_nodelay tcp_nopush types_hash_bucket_size types_hash_max_size underscores_in_headers
  uninitialized_variable_warn userid userid_domain userid_expires userid_flags userid_name userid_p3p userid_path
  userid_service valid_referers`
    .trim()
    .split(/\s+/),
);

/** Directives of an upstream besides `server` and `zone`. */
export const upstreamDirectives: ReadonlySet<string> = new Set(
  "hash ip_hash keepalive keepalive_requests keepalive_time keepalive_timeout least_conn random".split(" "),
);

/** Why well-known directives are refused, and what to do instead. First match counts. */
const reasons: readonly (readonly [RegExp, string])[] = [
  [/_temp_path$/, "is about files of the whole server. Take it out: chillbox sets it"],
  [/^proxy_store/, "writes files on the server. Use proxy_cache var_cache_nginx"],
  [/^proxy_cache_path$/, "is about files of the whole server. Take it out: the zone var_cache_nginx is there"],
  [/^log_format$/, "holds for every site. Take it out, and the format's name out of access_log"],
  [/^(?:ssl_|http2|http3|quic)/, "is chillbox's: the site's ssl_cert.include has it. Take it out"],
  [/^(?:fastcgi|uwsgi|scgi|grpc|memcached)_/, "is not what services of a site speak. Use proxy_pass"],
  [/^(?:perl|js_|lua|.*_by_lua)/, "runs code in nginx, which all sites share. Do it in a service of the site"],
  [/^resolver/, "is the server's. Take it out, and write proxy_pass without variables in its host"],
  [/^(?:dav_|create_full_put_path)/, "writes files on the server. Let a service of the site take uploads"],
  [/^proxy_ssl_/, "names keys and files of the server. Take it out"],
  [
    /^(?:user|load_module|env|pid|daemon|events|http|stream|mail|worker_.*|master_process|lock_file|working_directory)$/,
    "is the whole server's. Take it out: chillbox has it in nginx.conf",
  ],
];

/** Why a directive that isn't known here is refused, and the way out. */
export function refusal(name: string): string {
  const known = reasons.find(([pattern]) => pattern.test(name));
  return known
    ? known[1]
    : 'is not among those that a site may use. Take it out: docs/sites.md, "What a template may say"';
}
