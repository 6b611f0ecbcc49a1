select strftime('%s', 'now') as seconds;
