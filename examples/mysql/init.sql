CREATE DATABASE IF NOT EXISTS wordpress;
CREATE USER IF NOT EXISTS wordpress@'127.0.0.1';
GRANT ALL ON wordpress.* TO wordpress@'127.0.0.1';
