<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'wordpress');
define('DB_PASSWORD', '');
define('DB_HOST', '127.0.0.1:3306');
define('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content');
// With --network none there is nothing out there that it could ask for updates.
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
